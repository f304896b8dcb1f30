"""The table and the chart of time_to_quality.sh, out of the runs' metrics.jsonl."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# Measured once on two Zen 4 cores, on the same split: nanoGPT's CPU preset (characters, 4 layers, width 128, 2000 steps);
# the compressors have seen the training text.
NANOGPT = (133, 2.70)
COMPRESSORS = {"xz -9e": 2.38, "PPMd, order 6": 1.93}


def curve(run):
    """Seconds of training and held-out bits per byte; the time of the evaluations is not in it."""
    points = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        value = json.loads(line)
        if "heldout_bits_per_byte" in value:
            points.append((value["seconds"], value["heldout_bits_per_byte"]["plays"]))
    return points


def main():
    output = Path(sys.argv[1])
    figure, axis = plt.subplots(figsize=(7, 4))
    print(f"{'preset':20} {'training s':>11} {'wall s':>7} {'bits per byte':>14}")
    for name in sys.argv[2:]:
        points = curve(output / name)
        axis.plot(*zip(*points), marker="o", markersize=3, label=f"polymath, {name}")
        wall = float((output / name / "wall_seconds").read_text())
        print(f"{name:20} {points[-1][0]:11.1f} {wall:7.1f} {points[-1][1]:14.3f}")
    axis.plot(*NANOGPT, "kx", label="nanoGPT's CPU preset")
    for name, bits in COMPRESSORS.items():
        axis.axhline(bits, linestyle=":", color="grey")
        axis.annotate(name, (1, bits), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("held-out bits per byte")
    axis.set_xscale("symlog", linthresh=10)
    axis.set_xlim(left=0)
    axis.set_ylim(1.8, 4)
    axis.legend()
    figure.tight_layout()
    figure.savefig(output / "curves.svg")
    print(f"{output}/curves.svg", file=sys.stderr)


main()
