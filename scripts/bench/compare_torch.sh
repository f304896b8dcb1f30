#!/usr/bin/env bash
# Our training step against PyTorch's (eager and compiled, f32 and bf16) on the same shapes, alternating in one run.
# PyTorch goes into a scratch environment under target/; some 300 MB are fetched the first time. torch.compile needs a
# C++ compiler.
#
#   scripts/bench/compare_torch.sh [--shapes reference larger characters] [--precisions f32 bf16] [--rounds 5]
#
# Prints a table; the figures go to target/compare_torch/. For a GPU, with a `polymath` built for it and a Python that
# has PyTorch: `python3 scripts/bench/compare_torch.py target/release/polymath --device cuda:0 --shapes reference base`.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
for client in cargo g++; do
    command -v "$client" >/dev/null || { echo "$client is missing: install it first" >&2; exit 1; }
done
python_environment "$environment" torch
cargo build --release --quiet
exec "$environment/bin/python" scripts/bench/compare_torch.py target/release/polymath "$@"
