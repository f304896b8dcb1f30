#!/usr/bin/env bash
# Opens our checkpoints and adapters in `transformers` and `peft`, and compares tokens, bits per byte (within 1e-4) and
# greedy text with ours. PyTorch goes into a scratch environment under target/.
#
#   scripts/check-hf.sh <dataset> <domain> <checkpoint or adapter folder>…
#   scripts/check-hf.sh data/real literature checkpoints/small/best
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python-environment.sh
environment=target/torch-environment
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python_environment "$environment" torch transformers peft
cargo build --release --quiet
"$environment/bin/python" scripts/check_hf.py target/release/polymath "$@"
