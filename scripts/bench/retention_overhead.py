"""The price of retention in time: steps of `polymath finetune` with and without each method. Run by retention_overhead.sh."""

import argparse
import json
import shutil
import statistics
import subprocess
from pathlib import Path

FOLDER = Path("target/retention_overhead")
WARM = 4  # steps that are not counted
ROW, HALF = ["retention.replay.share=0.0625"], ["retention.replay.share=0.5"]  # one row of 16; 8 of 16
DISTILL = ["retention.distill.strength=0.5"]
CACHED = [*DISTILL, 'retention.distill.cache="top-k"']
# A way, what it is compared with, and its settings.
WAYS = [
    ("full", None, []),
    ("L2-SP", "full", ["retention.l2sp=0.01"]),
    ("EWC", "full", ["retention.ewc.strength=10.0"]),
    ("replay, a row of 16", "full", ROW),
    ("distillation of it, live", "replay, a row of 16", [*ROW, *DISTILL]),
    ("distillation of it, cached", "replay, a row of 16", [*ROW, *CACHED]),
    ("replay, half of the rows", "full", HALF),
    ("distillation of them, live", "replay, half of the rows", [*HALF, *DISTILL]),
    ("distillation of them, cached", "replay, half of the rows", [*HALF, *CACHED]),
    ("what limits switch on", "full", ["retention.replay.share=0.3333", "retention.replay.beside=true", *DISTILL]),
]  # fmt: skip


def seconds_of_a_step(arguments, settings, config="formal-full", folder=FOLDER):
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [arguments.program, "--quiet", "finetune", f"configs/finetune/{config}.toml", f'base="{arguments.base}"', f'run="{run}"',
               'retain="data/real"', f"training.steps={arguments.steps}", "training.batch_size=16", "evaluation.every=100000",
               "evaluation.max_tokens=2000", *settings]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    times = [line["seconds"] for line in lines if "loss" in line]
    return statistics.median(b - a for a, b in zip(times[WARM:], times[WARM + 1:]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--base", default="checkpoints/narrow/best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {name: [] for name, _, _ in WAYS}
    for _ in range(arguments.rounds):
        for name, _, settings in WAYS:
            found[name].append(seconds_of_a_step(arguments, settings))
    print(f"{'':30} {'ms a step':>10} {'more than':>26} {'by':>22}")
    for name, other, _ in WAYS:
        row = f"{name:30} {statistics.median(found[name]) * 1e3:10.0f}"
        if other:
            ratios = sorted(a / b - 1 for a, b in zip(found[name], found[other]))
            shown = f"{statistics.median(ratios):+.0%} ({ratios[0]:+.0%} to {ratios[-1]:+.0%})"
            row += f" {other:>26} {shown:>22}"
        print(row)


if __name__ == "__main__":
    main()
