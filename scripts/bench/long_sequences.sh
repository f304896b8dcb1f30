#!/usr/bin/env bash
# Time and memory of a training step against the length of its rows, with the same number of tokens in a batch; with
# everything kept, and with blocks computed again on the way back. Attention's time grows with the length, memory does not.
#
#   scripts/bench/long_sequences.sh [key=value …]       overrides of configs/pretrain/reference.toml
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
cargo build --release --quiet
printf '%10s  %-9s %10s %10s %12s\n' rows recompute "s a step" tokens/s "memory, MB"
for rows in 16x256 8x512 4x1024 2x2048 1x4096; do
    for recompute in none block; do
        target/release/polymath bench configs/pretrain/reference.toml --json --steps 3 "training.recompute=$recompute" \
            "training.batch_size=${rows%x*}" "training.sequence_length=${rows#*x}" "$@" |
            python3 -c '
import json, sys
found = json.load(sys.stdin)
rows, recompute = sys.argv[1:]
print("%10s  %-9s %10.2f %10.0f %12.0f" % (
    rows, recompute, found["step_seconds"], found["tokens_per_second"], found["peak_rss_bytes"] / 1e6))
' "$rows" "$recompute"
    done
done
