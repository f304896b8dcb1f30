#!/usr/bin/env bash
# Our models beside those of `transformers` and `peft`. PyTorch goes into a scratch environment under target/.
#
#   scripts/check/hf.sh
#       Randomly initialized checkpoints of every family that `transformers` makes, and adapters that `peft` makes for them:
#       logits, loss, gradients and greedy text there and here; what is saved here opened there again; adapters merged there
#       and here. Prints a table.
#   scripts/check/hf.sh <dataset> <domain> <checkpoint or adapter folder>…
#       Trained checkpoints of ours, opened there: tokens, bits per byte (within 1e-4) and greedy text of real documents.
#       scripts/check/hf.sh data/real literature checkpoints/small/best
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
[ $# = 0 ] || [ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python_environment "$environment" torch transformers peft
if [ $# = 0 ]; then
    cargo build --release --quiet --workspace --example forward
    exec "$environment/bin/python" scripts/check/check_hf_families.py target/release/examples/forward
fi
cargo build --release --quiet
exec "$environment/bin/python" scripts/check/check_hf_trained.py target/release/polymath "$@"
