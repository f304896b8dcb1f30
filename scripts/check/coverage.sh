#!/usr/bin/env bash
# Simulates how often intervals hold the truth and how often verdicts of reports and limits are wrong, and prints the tables of
# docs/concepts/evidence.md and docs/concepts/retention.md; then those of frontiers.
# Usage: scripts/check/coverage.sh [TRIALS]; 1000 trials a row (the default) take some ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
TRIALS="${1:-1000}" cargo test --quiet --workspace --lib coverage_table -- --ignored --nocapture |
  grep -E '^\||^most|^$' | cat -s
cargo test --quiet --workspace --test frontier_evidence coverage_table -- --ignored --nocapture
