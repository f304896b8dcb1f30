#!/usr/bin/env bash
# Runs everything in docs/experiments/forgetting.md, from raw text to the last table; about two hours on two cores. Finished parts
# are kept, so that it can be stopped and started at will.
#
#   scripts/forgetting.sh [program, default target/release/polymath]
set -euo pipefail
cd "$(dirname "$0")/.."
polymath=${1:-target/release/polymath}
[ -x "$polymath" ] || { echo "$polymath is missing: cargo build --release" >&2; exit 1; }
out=checkpoints

mkdir -p $out/.forgetting # one empty file for each run that is finished

# Trains a run that is not finished. Exit 3, a broken limit, and exit 4, an undecided one, are results as well.
once() {
    local command=$1 config=$2 run=$3 name
    shift 3
    name=$(basename "$run")
    if [ ! -e "$out/.forgetting/$name" ]; then
        local resume=()
        if [ -d "$run" ]; then resume=(--resume); fi
        "$polymath" "$command" "$config" run="$run" "$@" "${resume[@]}" || [[ $? =~ ^[34]$ ]]
        touch "$out/.forgetting/$name"
    fi
}

for corpus in literature mathematics chemistry biology law code manuals formal recipes; do
    if [ ! -d "data/raw/$corpus" ]; then scripts/corpora.sh "$corpus"; fi
done
for dataset in science formal recipes; do "$polymath" prepare "configs/prepare/$dataset.toml"; done
once pretrain configs/pretrain/narrow.toml $out/narrow
"$polymath" evaluate $out/narrow --dataset data/real --dataset data/formal --dataset data/recipes

"$polymath" frontier configs/frontier/narrow-formal.toml
"$polymath" frontier configs/frontier/narrow-formal-replay.toml
"$polymath" frontier configs/frontier/narrow-formal-long.toml 'seeds=[1]'
"$polymath" transfer configs/transfer/science.toml

once finetune configs/finetune/narrow-limits.toml "$out/narrow-limits/formal-1"
POLYMATH="$polymath" scripts/limits_trials.sh --out "$out/limits-trials"

full=$out/narrow-frontier/full-1
"$polymath" reset $out/narrow $full --max-tokens 8000 --limit 0.1 -o $out/narrow-reverted

once finetune configs/finetune/narrow-recipes.toml $out/narrow-chain
"$polymath" report $out/narrow $full $out/narrow-chain --dataset data/real --dataset data/formal --dataset data/recipes \
    --max-tokens 16000 -o "$out/narrow-chain-report"
