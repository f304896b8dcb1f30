#!/usr/bin/env bash
# Measures the time that each retention method adds to a training step: the same fine-tuning with and without it, alternating.
#
#   scripts/bench/retention_overhead.sh [--base checkpoints/narrow/best] [--rounds 3] [--steps 20]
#
# Needs data/formal and data/real, and a base trained on the latter (configs/pretrain/narrow.toml). Prints a table.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
cargo build --release --quiet
exec python3 scripts/bench/retention_overhead.py target/release/polymath "$@"
