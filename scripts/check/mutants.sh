#!/usr/bin/env bash
# Runs cargo-mutants over the loop, fine-tuning, scores, data and the optimizer, and compares the survivors with
# mutants-survivors.txt, which gives the reason why no test can or need catch each of them. Takes hours, and continues where
# it was stopped: mutants that were caught before are not tried again.
#
#     scripts/check/mutants.sh                              everything
#     scripts/check/mutants.sh crates/train/src/schedule.rs one file, or several
#     scripts/check/mutants.sh --check                      only whether the list fits the sources; seconds
#
# MUTANTS_OUTPUT is where cargo-mutants keeps its outcomes (target/mutants); MUTANTS_OPTIONS goes to it as it is ("--shard 1/8").
set -euo pipefail
cd "$(dirname "$0")/../.."
version=27.1.0
survivors=scripts/check/mutants-survivors.txt
output=${MUTANTS_OUTPUT:-target/mutants}
everything=(
    "crates/train/src/**" "crates/finetune/src/**" "crates/eval/src/**" "crates/data/src/**"
    crates/ops/src/optimizer/adamw.rs crates/ops/src/optimizer/muon.rs crates/ops/src/optimizer/moments.rs
    crates/ops/src/optimizer/gradient_norm.rs crates/ops/src/fused/optimizer/adamw.rs crates/ops/src/fused/optimizer/muon.rs
)

command -v cargo-mutants >/dev/null || cargo install cargo-mutants --locked --version "$version"

# A mutant without the place of its line, which other changes move.
without_places() { sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' | sort -u; }
# The mutants of the list, and those that have no reason beside them.
listed() { grep -v '^#' "$survivors" | grep . | sed -E 's/ \| .*$//' | sort -u; }
unexplained() { grep -v '^#' "$survivors" | grep . | grep -vE ' \| .{10,}$' || true; }

if [ -n "$(unexplained)" ]; then
    echo "$survivors: without a reason after \` | \`:" >&2
    unexplained >&2
    exit 1
fi
files=()
for pattern in "${everything[@]}"; do files+=(--file "$pattern"); done
stale=$(comm -13 <(cargo mutants --list "${files[@]}" | without_places) <(listed))
if [ -n "$stale" ]; then
    printf '%s\n' "$survivors names mutants that there are no more: take them out" "$stale" >&2
    exit 1
fi
[ "${1:-}" = --check ] && { echo "$survivors: $(listed | wc -l) survivors, all of them explained and there"; exit 0; }

if [ $# -gt 0 ]; then
    files=()
    for file in "$@"; do files+=(--file "$file"); done
fi
mkdir -p "$output"
# Exit 2: some survived, 3: some had no end; both are looked at below.
# shellcheck disable=SC2086
cargo mutants "${files[@]}" --output "$output" --iterate --no-shuffle --timeout-multiplier 4 ${MUTANTS_OPTIONS:-} || [ $? -le 3 ]
# With --iterate, each round lists its own survivors only, and tries those of the last one again.
missed=$(without_places <"$output/mutants.out/missed.txt")
caught=$(cat "$output/mutants.out/caught.txt" "$output/mutants.out/previously_caught.txt" 2>/dev/null | sort -u | wc -l)
count=$(printf '%s' "$missed" | grep -c . || true)
echo "$caught caught, $count survived: $((100 * caught / (caught + count > 0 ? caught + count : 1))) %"
unknown=$(comm -23 <(printf '%s\n' "$missed" | grep . || true) <(listed))
if [ -n "$unknown" ]; then
    printf '%s\n' "Not in $survivors; write a test, or the reason why none is needed:" "$unknown" >&2
    exit 1
fi
