#!/usr/bin/env bash
# Type-checks the workspace with `--features cuda` without a GPU, a CUDA toolkit or nvcc: about a minute once the other
# dependencies are built. Candle's own kernels are replaced by empty texts, so the result can't be linked or run;
# scripts/check/cuda.sh compiles them too.
#
#   scripts/check/cuda-types.sh [cargo command, default check]
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v cargo >/dev/null || { echo "cargo is missing: install a stable Rust toolchain first" >&2; exit 1; }

# The version of cudarc's bindings; with it set, cudarc looks for no toolkit.
export CUDARC_CUDA_VERSION=13000

version=$(grep -A1 '^name = "candle-kernels"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
cargo fetch --locked --quiet
original=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"candle-kernels-$version" | head -n 1)
stand_in=$PWD/target/candle-kernels
rm -rf "$stand_in"
mkdir -p "$stand_in"
cp "$original/Cargo.toml" "$stand_in"
cp -r "$original/src" "$stand_in"
# The constants that Candle's build script makes of the kernels, each of them empty.
cat >"$stand_in/build.rs" <<'RUST'
fn main() {
    let mut constants = String::new();
    for entry in std::fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_uppercase();
            constants += &format!("#[allow(dead_code)]\npub const {name}: &str = \"\";\n");
        }
    }
    let folder = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    std::fs::write(folder.join("ptx.rs"), constants).unwrap();
}
RUST

# An override by path leaves Cargo.lock as it is.
cargo "${1:-check}" --config "paths=[\"$stand_in\"]" --workspace --all-targets --features cuda
echo "the workspace type-checks with --features cuda; nothing was linked or run"
