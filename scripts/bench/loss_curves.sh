#!/usr/bin/env bash
# The same run three times on real text: the reference on Candle's operations, fused, and fused in bf16. Speed must not be
# paid for in loss.
#
#   scripts/bench/loss_curves.sh [key=value …]     overrides of configs/pretrain/small.toml; default: the small shape below
#
# Needs data/real (scripts/corpora.sh, polymath prepare configs/prepare/science.toml). Prints how far the losses of the
# first 200 steps lie apart, and held-out bits per byte at the end; the curves go to target/loss_curves/curves.svg.
# A run that is finished is not repeated: remove target/loss_curves to start again.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
[ $# -gt 0 ] || set -- model.hidden_size=128 model.num_hidden_layers=4 model.num_attention_heads=4 \
    training.tokens=3_072_000 evaluation.every=150
output=target/loss_curves
environment=target/plot-environment
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
[ -f data/real/dataset.json ] || { echo "data/real is missing: polymath prepare configs/prepare/science.toml" >&2; exit 1; }

cargo build --release --quiet
mkdir -p "$output"
train() { # name, operations, precision
    local run=$output/$1 resume=()
    [ ! -d "$run" ] || resume=(--resume)
    if [ ! -f "$run.done" ]; then
        target/release/polymath --ops "$2" pretrain configs/pretrain/small.toml "run=\"$run\"" "training.precision=\"$3\"" \
            "${arguments[@]}" "${resume[@]}"
        touch "$run.done"
    fi
}
arguments=("$@")
train fused fused f32
train fused-bf16 fused bf16
train reference reference f32
python_environment "$environment" matplotlib
"$environment/bin/python" scripts/bench/loss_curves.py "$output" reference fused fused-bf16
