#!/usr/bin/env bash
# Simulates how often intervals hold the truth and how often verdicts of reports and limits are wrong, and prints the
# tables of docs/concepts/evidence.md and docs/concepts/retention.md; then those of frontiers.
# Usage: scripts/check/coverage.sh [TRIALS]
#            1000 trials a row (the default) take some ten minutes on two cores
#        scripts/check/coverage.sh --works [DRAWS]
#            the same of real works, drawn 1000 times: trains a base on two works in five of four corpora, tunes it three
#            times and scores the other works; half an hour
set -euo pipefail
cd "$(dirname "$0")/../.."

# Trains a run, from where it was left.
once() { # command config run key=value…
    local resume=()
    if [ -d "$3" ]; then resume=(--resume); fi
    "$polymath" "$1" "$2" "run=\"$3\"" "${@:4}" "${resume[@]}"
}

works() { # draws
    local domain seed tuned=()
    for domain in literature law manuals politics formal; do
        if [ ! -d "data/raw/$domain" ]; then scripts/corpora.sh "$domain"; fi
    done
    cargo build --release --workspace --bins --examples
    polymath=target/release/polymath
    "$polymath" prepare configs/prepare/works.toml
    "$polymath" prepare configs/prepare/formal.toml 'output="data/works-formal"' 'tokenizer.path="data/works/tokenizer.json"'
    once pretrain configs/pretrain/works.toml checkpoints/works
    for seed in 1 2 3; do
        once finetune configs/finetune/works.toml "checkpoints/works-formal/$seed" seed="$seed"
        tuned+=("checkpoints/works-formal/$seed/scores.json")
        target/release/examples/works score data/works "checkpoints/works-formal/$seed/best" "${tuned[-1]}"
    done
    target/release/examples/works score data/works checkpoints/works/best checkpoints/works/scores.json
    target/release/examples/works cover "$1" checkpoints/works/scores.json "${tuned[@]}"
}

if [ "${1:-}" = --works ]; then
    works "${2:-1000}"
    exit
fi
TRIALS="${1:-1000}" cargo test --quiet --workspace --lib coverage_table -- --ignored --nocapture |
  grep -E '^\||^most|^$' | cat -s
cargo test --quiet --workspace --test it frontier_evidence::coverage_table -- --ignored --nocapture
