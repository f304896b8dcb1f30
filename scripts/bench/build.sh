#!/usr/bin/env bash
# Measures the release build: seconds, packages and the size of the program, with the default features and with none,
# each in an empty target folder; then the profile `dist`, with link-time optimization. The speed of a training step of
# each follows, so that a profile that costs speed is seen. Takes half an hour on two cores, and wants the machine for
# itself.
#
#   scripts/bench/build.sh [target folder, default target/bench-build]
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-target/bench-build}
cargo fetch --locked

packages() { cargo tree --edges normal,build --prefix none --package polymath-lm "$@" | sed 's/ (\*)//' | sort -u | wc -l; }
speed() {
    "$1" bench configs/pretrain/reference.toml --json |
        python3 -c 'import json, sys; print(round(json.load(sys.stdin)["tokens_per_second"]))'
}
row() {
    local name=$1 profile=$2 start count program
    shift 2
    program=$target/$profile/polymath
    rm -rf "$target"
    start=$SECONDS
    cargo build --quiet --profile "$profile" --offline --target-dir "$target" --package polymath-lm "$@"
    count=$(packages "$@")
    printf '| %s | %s | %s | %s | %s |\n' "$name" "$count" "$((SECONDS - start))" "$(($(stat -c %s "$program") / 1000000))" "$(speed "$program")"
}

echo "| build | packages | s | MB | tokens/s |"
echo "|---|--:|--:|--:|--:|"
row "default features" release --timings
cp -r "$target/cargo-timings" target/build-timings 2>/dev/null || true
row "no default features" release --no-default-features
row "default features, link-time optimization" dist
