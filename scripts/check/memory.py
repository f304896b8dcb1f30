#!/usr/bin/env python3
"""Compares the memory that `polymath finetune` estimates with what runs take.

    scripts/check/memory.py POLYMATH BASE TEXT...     a built binary, a model folder and text files; exits with 1 if an
                                                      estimate is off by more than a tenth

Every configuration is planned with `--dry-run` and then trained for a few steps in a process of its own, whose `ru_maxrss` counts.
The larger the model, the less the program itself and its tokenizer weigh: take one of 100 million parameters or more.
"""

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
    "full, 4 x 256, bf16, L2-SP": ["training.batch_size=4", "training.precision=bf16", "retention.l2sp=1.0"],
    "LoRA, 16 x 256": ["method=lora", *ALL],
    "LoRA, 16 x 256 at once": ["method=lora", *ALL, "training.accumulation_steps=1"],
    "DoRA with dropout, 4 x 512": ["method=dora", *ALL, "lora.dropout=0.1", "training.batch_size=4", "training.sequence_length=512"],
}
ALLOWED = 0.10


def command(polymath, base, texts, run, overrides):
    """Returns the command of a short run."""
    texts = "texts=[" + ", ".join(f'"{text}"' for text in texts) + "]"
    common = [f"base={base}", texts, f"run={run}", "training.steps=3", "evaluation.max_tokens=2000"]
    return [polymath, "finetune", *common, *overrides]


def estimate(arguments):
    """Returns the bytes that the dry run says."""
    output = subprocess.run([*arguments, "--dry-run"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"about (\d+) MB of memory", output)[1]) * 1_000_000


def taken(arguments):
    """Returns the peak resident bytes of a run."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(arguments)}\n{said}")
    return usage.ru_maxrss * 1024


def main():
    polymath, base, *texts = sys.argv[1:]
    wrong = 0
    for name, overrides in CONFIGURATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            arguments = command(polymath, base, texts, f"{folder}/run", overrides)
            said, found = estimate(arguments), taken(arguments)
        off = said / found - 1
        wrong += abs(off) > ALLOWED
        print(f"{name:30} {said / 1e9:6.2f} GB estimated {found / 1e9:6.2f} GB taken {off:+7.1%}", flush=True)
    if wrong:
        sys.exit(f"{wrong} of {len(CONFIGURATIONS)} estimates are off by more than {ALLOWED:.0%}")


if __name__ == "__main__":
    main()
