#!/usr/bin/env python3
"""Speed and memory of LoRA and DoRA against full fine-tuning of a real base, alternating in one run.

    scripts/bench/adapters.py POLYMATH BASE TEXT...     a built binary, a model folder and text files; prints a table

The ratio of a round compares runs that follow each other, so that the load of the machine weighs little; the table has medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 3
STEPS = 5
# Rank 8 beside every projection.
ALL = ["lora.rank=8", "lora.alpha=16", 'lora.targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]']
WAYS = {
    "full": ["method=full"],
    "LoRA": ["method=lora", *ALL],
    "LoRA, dropout 0.1": ["method=lora", *ALL, "lora.dropout=0.1"],
    "DoRA": ["method=dora", *ALL],
}


def run(polymath, base, texts, settings):
    """Returns the median tokens a second of the steps after the first, and the peak resident bytes."""
    with tempfile.TemporaryDirectory() as folder:
        texts = "texts=[" + ", ".join(f'"{text}"' for text in texts) + "]"
        keys = [f"base={base}", texts, f"run={folder}/run", f"training.steps={STEPS}", "evaluation.max_tokens=2000"]
        process = subprocess.Popen([polymath, "--quiet", "finetune", *keys, *settings])
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{settings}: the run failed")
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line).get("tokens_per_second") for line in lines]
    rates = [rate for rate in rates if rate is not None]
    return statistics.median(rates[1:]), usage.ru_maxrss * 1024


def main():
    polymath, base, *texts = sys.argv[1:]
    found = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, settings in WAYS.items():
            found[name].append(run(polymath, base, texts, settings))
    print("| trained | tokens/s | against full | peak resident |\n|---|--:|--:|--:|")
    for name, measured in found.items():
        ratios = [rate / full for (rate, _), (full, _) in zip(measured, found["full"])]
        rate = statistics.median(rate for rate, _ in measured)
        peak = max(peak for _, peak in measured)
        print(f"| {name} | {rate:.0f} | {statistics.median(ratios):.2f} | {peak / 1e9:.2f} GB |")


if __name__ == "__main__":
    main()
