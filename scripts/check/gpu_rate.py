"""Prints the rates and the GPU memory of a `polymath bench --json` in one line. Called by gpu.sh."""

import json
import sys

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        found = json.load(file)
except (OSError, ValueError):
    print("no result")
else:
    memory = found.get("gpu_memory_bytes", 0) / 1e6
    rate, scoring = found["tokens_per_second"], found["scoring_tokens_per_second"]
    print(f"{rate:.0f} tokens/s, scoring {scoring:.0f} tokens/s, {memory:.0f} MB")
