#!/usr/bin/env python3
"""Compares the time that `--dry-run` says with what commands take: fine-tuning in three ways, a frontier and a transfer matrix.

    scripts/check/dry-runs.py POLYMATH [--steps 60] [--rounds 1] [CASE...]     a built binary; exits with 1 if a median is off by
                                                                               more than a fifth

Text of this repository is the corpus: its scripts are the niche, sources and sections of the documentation are retained. Each dry run is followed by its run,
so that both see the same machine; a load that changes meanwhile is an error of neither, so measure on a quiet one. The times are
those of the wall, start of the program included.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = 0.20
# Exit code of a run whose limits are not shown to be kept; its time counts.
BROKEN_LIMIT = 4
DOMAINS = {"docs": ["docs"], "sources": ["crates/*/src/**/*.rs"], "scripts": ["scripts"]}
MODEL = ["model.hidden_size=256", "model.num_hidden_layers=6", "model.num_attention_heads=8"]
EVALUATION = ["evaluation.every=20", "evaluation.max_tokens=6000"]
FRONTIER = """
output = "frontier"
seeds = [1, 2]
max_tokens = 6000
[shared]
base = "base/best"
dataset = "data"
domain = "scripts"
retain = "data"
[shared.training]
steps = {steps}
[shared.evaluation]
every = 20
max_tokens = 6000
[runs.full]
method = "full"
[runs.lora]
method = "lora"
lora = {{ rank = 8, alpha = 16 }}
"""
TRANSFER = """
output = "transfer"
datasets = ["data"]
gradient_tokens = 16384
[shared]
base = "base/best"
[shared.training]
steps = {steps}
[shared.evaluation]
every = 20
max_tokens = 6000
"""
UNITS = {"h": 3600, "min": 60, "s": 1}


def run(polymath, folder, arguments, **options):
    """Runs a command in the folder and returns its standard output and the seconds it took."""
    begin = time.monotonic()
    done = subprocess.run([polymath, *arguments], cwd=folder, text=True, capture_output=True, **options)
    if done.returncode not in (0, BROKEN_LIMIT):
        sys.exit(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout, time.monotonic() - begin


def said(output):
    """Returns the seconds that a dry run says."""
    line = re.search(r"^(?:time|all that is left) .*$", output, re.MULTILINE)
    if line is None:
        sys.exit(f"no time in {output}")
    duration = re.match(r"\D*((?:\d+ (?:h|min|s) ?)+)", line[0])[1].split()
    return sum(int(number) * UNITS[unit] for number, unit in zip(duration[::2], duration[1::2]))


def prepare(polymath, folder):
    """Makes the dataset and a base."""
    tables = [f'output = "data"\n[tokenizer]\nvocab_size = 4096']
    for name, paths in DOMAINS.items():
        listed = ", ".join(f'"{ROOT / path}"' for path in paths)
        group = 'group = "section"\nheldout_groups = 60' if name == "docs" else "heldout_groups = 20"
        tables.append(f"[domains.{name}]\npaths = [{listed}]\n{group}")
    Path(folder, "prepare.toml").write_text("\n".join(tables))
    run(polymath, folder, ["prepare", "prepare.toml"])
    run(polymath, folder, ["pretrain", "dataset=data", "run=base", "training.steps=30", "evaluation.max_tokens=5000", *MODEL])


def cases(folder, steps):
    """Returns the command of each case, without its run's name."""
    Path(folder, "frontier.toml").write_text(FRONTIER.format(steps=steps // 3))
    Path(folder, "transfer.toml").write_text(TRANSFER.format(steps=steps // 3))
    common = ["finetune", "base=base/best", "dataset=data", "domain=scripts", "retain=data", f"training.steps={steps}", *EVALUATION]
    return {
        "full": [*common, "method=full"],
        "lora": [*common, "method=lora", "lora.rank=8", "lora.alpha=16"],
        "limits": [*common, "method=full", "retention.limits.docs=0.5"],
        "frontier": ["frontier", "frontier.toml"],
        "transfer": ["transfer", "transfer.toml"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("polymath", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    polymath = str(asked.polymath.resolve())
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(polymath, folder)
        print("| command | said, s | taken, s | said / taken | load |\n|---|--:|--:|--:|--:|")
        for name, command in cases(folder, asked.steps).items():
            if asked.cases and name not in asked.cases:
                continue
            found = []
            for at in range(asked.rounds):
                key = "run" if command[0] == "finetune" else "output"
                arguments = [*command, f"{key}={name}-{at}"]
                estimate = said(run(polymath, folder, [*arguments, "--dry-run"])[0])
                found.append((estimate, run(polymath, folder, arguments)[1]))
            ratios = [estimate / taken for estimate, taken in found]
            ratio = statistics.median(ratios)
            wrong += abs(ratio - 1) > ALLOWED
            estimate, taken = (statistics.median(side) for side in zip(*found))
            print(f"| {name} | {estimate:.0f} | {taken:.0f} | {ratio:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)
    if wrong:
        sys.exit(f"{wrong} estimates are off by more than {ALLOWED:.0%}")


if __name__ == "__main__":
    main()
