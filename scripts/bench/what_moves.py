"""Tokens a second of `polymath finetune` by what moves. Run by what_moves.sh."""

import statistics
import sys
from argparse import Namespace
from pathlib import Path

from retention_overhead import seconds_of_a_step

TOKENS = 16 * 256  # of a step
ROUNDS = 3
HEAD = ["frozen.train_last_layers=0", 'frozen.train=["lm_head"]']
WAYS = [
    ("all of it", "formal-full", []),
    ("LoRA, rank 8 beside every projection", "formal-lora", []),
    ("the last 2 of 6 blocks", "formal-frozen", []),
    ("the head alone", "formal-frozen", HEAD),
]


def main():
    arguments = Namespace(program=sys.argv[1], base=sys.argv[2], steps=16)
    rates = {name: [] for name, _, _ in WAYS}
    for _ in range(ROUNDS):
        for name, config, settings in WAYS:
            rates[name].append(TOKENS / seconds_of_a_step(arguments, settings, config, Path("target/what_moves")))
    print("| what moves | tokens/s | against all |\n|---|--:|--:|")
    whole = rates[WAYS[0][0]]
    for name, found in rates.items():
        ratio = statistics.median(part / all_of_it for part, all_of_it in zip(found, whole))
        print(f"| {name} | {statistics.median(found):.0f} | {ratio:.2f} |")


main()
