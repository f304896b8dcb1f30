#!/usr/bin/env bash
# Our matrix products against PyTorch's (oneDNN's) on the shapes that training has, alternating in one run.
#
#   scripts/bench/compare_products.sh [--precisions f32 bf16] [--rounds 5]
#
# PyTorch gets its factors in bf16 already; ours are f32 tensors that are rounded on the way, as in training. Prints
# GFLOP/s and ratios; the environment is that of compare_torch.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
command -v cargo >/dev/null || { echo "cargo is missing: install it first" >&2; exit 1; }
python_environment "$environment" torch
cargo build --release --quiet --workspace --example products
exec "$environment/bin/python" scripts/bench/compare_products.py target/release/examples/products "$@"
