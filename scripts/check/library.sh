#!/usr/bin/env bash
# Builds and runs the program of docs/guides/library.md as a project of its own, outside of the workspace, with the one
# dependency that the page names. Takes some minutes, since it compiles everything again.
#
#   scripts/check/library.sh [target folder, default a temporary one]
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
mkdir "$project/src"

python3 - docs/guides/library.md >"$project/src/main.rs" <<'PYTHON'
import re
import sys
from pathlib import Path

page = Path(sys.argv[1]).read_text(encoding="utf-8")
print(re.search(r"<!-- program: [^\n]*-->\n```rust\n(.*?)```", page, re.DOTALL)[1])
PYTHON
cat >"$project/Cargo.toml" <<TOML
[package]
name = "outside"
version = "0.0.0"
edition = "2024"

[dependencies]
polymath-lib = { path = "$root/crates/lib" }

[workspace]
TOML
cp Cargo.lock "$project/"

cd "$project"
export CARGO_TARGET_DIR=${1:-$project/target}
cargo run --release | tee said
grep -q 'bits per byte' said
echo "the program of docs/guides/library.md builds and runs outside of the workspace"
