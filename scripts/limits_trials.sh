#!/usr/bin/env bash
# Shows whether limits are kept, and at what price: runs under limits over niches and seeds, each beside the same run without any
# retention. Prints a table. Finished runs are kept, so that it can be stopped and started at will.
#
#   scripts/limits_trials.sh [--niches formal:4,recipes:3,religion:3] [--limit 0.02] [--out checkpoints/limits-trials]
#                            [-- key=value …]
#
# Needs data/real and a base trained on it (configs/pretrain/narrow.toml); what follows `--` changes the config of all runs.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
program=${POLYMATH:-target/release/polymath}
[ -x "$program" ] || { echo "$program is missing: cargo build --release" >&2; exit 1; }
exec python3 scripts/limits_trials.py "$program" "$@"
