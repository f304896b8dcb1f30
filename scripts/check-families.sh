#!/usr/bin/env bash
# Randomly initialised checkpoints of every family, made by `transformers`: their logits and one step's gradients against
# ours, and the checkpoints that we save opened there again. Prints a table. PyTorch goes into a scratch environment.
#
#   scripts/check-families.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python-environment.sh
environment=target/torch-environment
python_environment "$environment" torch transformers
cargo build --release --quiet --workspace --example forward
"$environment/bin/python" scripts/check_families.py target/release/examples/forward
