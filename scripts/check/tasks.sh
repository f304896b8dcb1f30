#!/usr/bin/env bash
# The same checkpoint on the same tasks, with choices and clozes, here and in lm-evaluation-harness: every decision of every
# item must be equal. A small model is trained on this folder's own documentation for it; the harness goes into a scratch
# environment.
#
#   scripts/check/tasks.sh [checkpoint folder, default: one trained here, a minute]
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
scratch=target/check-tasks
python_environment "$environment" torch transformers
"$environment/bin/python" -c 'import lm_eval' 2>/dev/null ||
    "$environment/bin/pip" install --quiet --disable-pip-version-check lm_eval==0.4.13
cargo build --release --quiet
polymath=target/release/polymath
mkdir -p "$scratch"
checkpoint=${1:-$scratch/run/best}
if [ $# = 0 ] && [ ! -f "$scratch/trained" ]; then
    rm -rf "$scratch/run"
    cat >"$scratch/prepare.toml" <<TOML
output = "$scratch/data"
[tokenizer]
vocab_size = 1024
[domains.documentation]
paths = ["docs/**/*.md", "README.md"]
TOML
    cat >"$scratch/pretrain.toml" <<TOML
dataset = "$scratch/data"
run = "$scratch/run"
[model]
hidden_size = 96
num_hidden_layers = 3
num_attention_heads = 4
max_position_embeddings = 128
[training]
steps = 300
batch_size = 16
sequence_length = 128
learning_rate = 3e-3
[evaluation]
every = 100
TOML
    "$polymath" --quiet prepare "$scratch/prepare.toml" --force
    "$polymath" --quiet pretrain "$scratch/pretrain.toml"
    touch "$scratch/trained"
fi
"$environment/bin/python" scripts/check/check_tasks.py "$polymath" "$checkpoint" "$scratch"
