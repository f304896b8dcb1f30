#!/usr/bin/env bash
# The cost of a fine-tuning step by the trained parameters: all, LoRA, the last two of six blocks, the head alone; on real text
# and the model of configs/pretrain/small.toml, alternating in one run.
#
#   scripts/bench/what_moves.sh
#
# Needs data/formal and data/real. Prints a table.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
cargo build --release --quiet
polymath=target/release/polymath
base=target/what_moves/base
# The time of a step does not depend on what the base has learned.
if [ ! -e "$base/best" ]; then
    rm -rf "$base"
    "$polymath" --quiet pretrain configs/pretrain/small.toml "run=\"$base\"" training.steps=2 evaluation.max_tokens=2000
fi
exec python3 scripts/bench/what_moves.py "$polymath" "$base"
