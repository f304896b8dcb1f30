"""The table and the chart of loss_curves.sh: every run against the first."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

EARLY = 200  # steps whose losses are compared one by one
SMOOTH = 20  # steps that a point of the curve averages


def read(run):
    """The training loss of every step, the last held-out bits per byte by domain, and tokens/s overall."""
    losses, heldout, tokens, seconds = {}, {}, 0, 0.0
    for line in (run / "metrics.jsonl").read_text().splitlines():
        value = json.loads(line)
        if "loss" in value:
            losses[value["step"]] = value["loss"]
            tokens, seconds = value["tokens"], value["seconds"]
        heldout = value.get("heldout_bits_per_byte", heldout)
    return losses, heldout, tokens / seconds


def smooth(values):
    return [sum(values[max(0, at - SMOOTH + 1) : at + 1]) / min(SMOOTH, at + 1) for at in range(len(values))]


def main():
    output, names = Path(sys.argv[1]), sys.argv[2:]
    runs = {name: read(output / name) for name in names}
    first_losses, first_heldout, _ = runs[names[0]]
    figure, axis = plt.subplots(figsize=(7, 4))
    print(f"{'run':12} {'tokens/s':>9} {'largest difference in loss,':>28} {'held-out bits per byte,':>24} {'against':>9}")
    print(f"{'':12} {'':>9} {f'first {EARLY} steps':>28} {'mean of the domains':>24} {names[0]:>9}")
    for name, (losses, heldout, rate) in runs.items():
        steps = [step for step in losses if step <= EARLY]
        apart = max(abs(losses[step] - first_losses[step]) / first_losses[step] for step in steps)
        mean, first = (sum(bits.values()) / len(bits) for bits in (heldout, first_heldout))
        print(f"{name:12} {rate:9.0f} {apart:28.2e} {mean:24.4f} {mean / first - 1:+9.3%}")
        axis.plot(list(losses), smooth(list(losses.values())), label=name, linewidth=1)
    axis.set_xlabel("step")
    axis.set_ylabel(f"training loss, mean of {SMOOTH} steps")
    axis.legend()
    figure.tight_layout()
    figure.savefig(output / "curves.svg")
    print(f"{output}/curves.svg", file=sys.stderr)


main()
