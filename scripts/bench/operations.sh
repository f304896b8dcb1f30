#!/usr/bin/env bash
# Every operation, fused against the reference on Candle's, forward and with its backward pass, on the shapes of the reference
# model in f32; medians. Prints a table.
#
#   scripts/bench/operations.sh [part of an operation's name]
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
export CRITERION_HOME=$PWD/target/operations
rm -rf "$CRITERION_HOME"
mkdir -p "$CRITERION_HOME"
log=$CRITERION_HOME/log
cargo bench --quiet --workspace --bench operations -- "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
exec python3 scripts/bench/operations.py "$CRITERION_HOME"
