#!/usr/bin/env bash
# Prints the bits per byte of `xz -9e` on the held-out text of each domain, for comparison with a model's. "Alone" is the
# held-out text by itself; "after train" is what it adds to the training text of its domain, which the compressor has
# then seen, as the model has.
#
#   scripts/compressors.sh <dataset> [domain…]     for example: scripts/compressors.sh data/real chemistry
#
# POLYMATH is the command to export texts with, default `cargo run --release -q --`.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8
read -r -a polymath <<<"${POLYMATH:-cargo run --release -q --}"

[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v xz >/dev/null || { echo "\`xz\` is missing: install xz-utils" >&2; exit 1; }
dataset=$1
shift
[ -f "$dataset/dataset.json" ] || { echo "no prepared data set in \`$dataset\`: run \`polymath prepare\` first" >&2; exit 1; }
if [ $# -gt 0 ]; then
    domains=("$@")
else # each domain is a folder of shards
    domains=()
    for folder in "$dataset"/*/; do [ -f "$folder/heldout.safetensors" ] && domains+=("$(basename "$folder")"); done
fi

# The dictionary must hold the whole training text, or its beginning is forgotten before the held-out text comes.
dictionary_mib=256
compressed() { xz --format=raw --threads=1 --lzma2=preset=9e,dict=${dictionary_mib}MiB --stdout | wc -c; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '%-14s %12s %12s %12s %14s\n' domain 'train bytes' 'held-out' 'alone' 'after train'
for domain in "${domains[@]}"; do
    for split in train heldout; do
        "${polymath[@]}" dataset text "$dataset" --domain "$domain" --split $split >"$folder/$split"
    done
    train=$(wc -c <"$folder/train")
    heldout=$(wc -c <"$folder/heldout")
    if [ "$heldout" = 0 ] || [ $((train + heldout)) -ge $((dictionary_mib << 20)) ]; then
        echo "$domain: $heldout held-out bytes, $train of training: nothing to measure, or more than xz's dictionary" >&2
        exit 1
    fi
    alone=$(compressed <"$folder/heldout")
    before=$(compressed <"$folder/train")
    both=$(cat "$folder/train" "$folder/heldout" | compressed)
    awk -v domain="$domain" -v train="$train" -v heldout="$heldout" -v alone="$alone" -v after=$((both - before)) 'BEGIN {
        printf "%-14s %12d %12d %12.3f %14.3f\n", domain, train, heldout, 8 * alone / heldout, 8 * after / heldout }'
done
