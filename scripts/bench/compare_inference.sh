#!/usr/bin/env bash
# Generation against `transformers` on the same checkpoint, and `prepare` against the Python `tokenizers` batch encoder
# on the same text, both with all threads, alternating in one run.
#
#   scripts/bench/compare_inference.sh [--checkpoint checkpoints/small/best] [--dataset data/real] [--rounds 5]
#
# Needs a trained checkpoint and a dataset prepared from files whose documents are JSON objects with `text`
# (configs/prepare/science.toml). Python's packages go into a scratch environment under target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
command -v cargo >/dev/null || { echo "cargo is missing: install it first" >&2; exit 1; }
python_environment "$environment" torch transformers
cargo build --release --quiet
exec "$environment/bin/python" scripts/bench/compare_inference.py target/release/polymath "$@"
