#!/usr/bin/env bash
# Compiles the workspace with `--features cuda` on a machine without a GPU or a CUDA toolkit: the compiler comes
# from PyPI wheels. It checks that the CUDA build compiles, tests/it/cuda.rs with it; it can't
# run it. About half an hour on two cores, most of it for Candle's own kernels.
#
#   scripts/check/cuda.sh [scratch folder, default target/cuda-toolkit]
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=${1:-target/cuda-toolkit}
version=13.0 # what drivers from 580 on run

for client in python3 cargo; do
    command -v "$client" >/dev/null || { echo "$client is missing: install it first" >&2; exit 1; }
done
mkdir -p "$scratch"
scratch=$(cd "$scratch" && pwd)
if [ ! -x "$scratch/venv/bin/pip" ]; then
    python3 -m venv "$scratch/venv"
fi
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check \
    "nvidia-cuda-nvcc==$version.*" "nvidia-nvvm==$version.*" "nvidia-cuda-crt==$version.*" \
    "nvidia-cuda-runtime==$version.*" "nvidia-cuda-cccl==$version.*" "nvidia-cuda-nvrtc==$version.*" \
    nvidia-curand nvidia-cublas

toolkit=$(echo "$scratch"/venv/lib/python3*/site-packages/nvidia/cu13)
[ -x "$toolkit/bin/nvcc" ] || { echo "no nvcc under $toolkit" >&2; exit 1; }
# The wheels lay out lib/, build scripts look for lib64/.
[ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"

export CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit" CUDA_TOOLKIT_ROOT_DIR="$toolkit"
export NVCC="$toolkit/bin/nvcc" PATH="$toolkit/bin:$PATH" CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
# Linking wants the driver's library, which only a machine with a GPU has; checking does not link.
cargo clippy --workspace --all-targets --features cuda --target-dir target/cuda -- -D warnings
echo "the workspace compiles with --features cuda (compute capability $CUDA_COMPUTE_CAP); it was not run"
