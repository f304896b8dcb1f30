#!/usr/bin/env bash
# Compiles the CUDA kernels for real architectures with NVRTC, which comes from a PyPI wheel: needs no GPU and no toolkit.
# Prints registers, shared memory and spills, and fails on spills at a head_dim up to 64, on local memory, and on
# attention without tensor-core instructions. About a minute.
#
#   scripts/check/kernels.sh [architectures, default sm_80 sm_86 sm_89 sm_90 sm_100 sm_120]
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "python3 is missing: install it first" >&2; exit 1; }
venv=target/nvrtc
if ! "$venv/bin/python" -c 'import nvidia' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "nvidia-cuda-nvrtc==13.0.*"
fi
"$venv/bin/python" scripts/check/compile_kernels.py "$@"
