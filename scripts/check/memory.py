#!/usr/bin/env python3
"""Compares the memory that `polymath finetune` estimates with what runs take.

    scripts/check/memory.py POLYMATH BASE TEXT... [--only NAME]     a built binary, a model folder and text files; exits with
                                                                    1 if an estimate is off by more than a tenth

Every configuration is trained for a few steps in a process of its own, whose `ru_maxrss` counts. The estimate is that of the start of the run.
The larger the model, the less the program itself and its tokenizer weigh: take one of 100 million parameters or more.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

# Rank 8 beside every projection.
ALL = ["lora.rank=8", "lora.alpha=16", 'lora.targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]']
CONFIGURATIONS = {
    "full, 4 x 512": ["training.batch_size=4", "training.sequence_length=512"],
    "full, 4 x 512, recomputed": ["training.batch_size=4", "training.sequence_length=512", "training.recompute=block"],
    "full, 4 x 512, bf16": ["training.batch_size=4", "training.sequence_length=512", "training.precision=bf16"],
    "full, 4 x 256, bf16, L2-SP": ["training.batch_size=4", "training.precision=bf16", "retention.l2sp=1.0"],
    "LoRA, 4 x 512, bf16": ["method=lora", *ALL, "training.batch_size=4", "training.sequence_length=512", "training.precision=bf16"],
    "LoRA, 16 x 256": ["method=lora", *ALL],
    "LoRA, 16 x 256 at once": ["method=lora", *ALL, "training.accumulation_steps=1"],
    "DoRA with dropout, 4 x 512": ["method=dora", *ALL, "lora.dropout=0.1", "training.batch_size=4", "training.sequence_length=512"],
}
ALLOWED = 0.10


def command(polymath, base, texts, run, overrides):
    """Returns the command of a short run."""
    texts = "texts=[" + ", ".join(f'"{text}"' for text in texts) + "]"
    common = [f"base={base}", texts, f"run={run}", "training.steps=2", "evaluation.max_tokens=1000"]
    return [polymath, "finetune", *common, *overrides]


def measured(arguments):
    """Returns the bytes that the start of a run says, and its peak resident bytes."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    about = re.search(r"about (\d+) MB of memory", said)
    if status != 0 or about is None:
        sys.exit(f"{' '.join(arguments)}\n{said}")
    return int(about[1]) * 1_000_000, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("polymath")
    parser.add_argument("base")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--only", action="append", help="a configuration, by its name")
    asked = parser.parse_args()
    wrong = 0
    for name, overrides in CONFIGURATIONS.items():
        if asked.only and name not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            said, found = measured(command(asked.polymath, asked.base, asked.texts, f"{folder}/run", overrides))
        off = said / found - 1
        wrong += abs(off) > ALLOWED
        print(f"{name:30} {said / 1e9:6.2f} GB estimated {found / 1e9:6.2f} GB taken {off:+7.1%}", flush=True)
    if wrong:
        sys.exit(f"{wrong} estimates are off by more than {ALLOWED:.0%}")


if __name__ == "__main__":
    main()
