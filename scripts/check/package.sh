#!/usr/bin/env bash
# Packages every crate that is published, and checks that each package holds the files that its sources include. Needs no network;
# does not build the packages (`cargo publish --dry-run` does, and needs the registry).
#
#   scripts/check/package.sh [target folder, default target/package-check]
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-target/package-check}
rm -rf "$target/package" "$target/unpacked"
mkdir -p "$target/unpacked"

cargo package --quiet --workspace --exclude polymath-fuzz --no-verify --allow-dirty --offline --target-dir "$target"
for package in "$target"/package/*.crate; do tar -xzf "$package" -C "$target/unpacked"; done

python3 - "$target/unpacked" <<'PYTHON'
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(sys.argv[1]).resolve()
# A literal, or the pieces of `concat!`, of which a macro's parameter stands for any name.
INCLUDED = re.compile(r'include(?:_str|_bytes)?!\(\s*(?:"([^"]+)"|concat!\(([^)]*)\))\s*\)')
PATH = re.compile(r'#\[path = "([^"]+)"\]')


def patterns(text):
    """Yields the files that a source includes, as globs relative to its folder."""
    for literal, pieces in INCLUDED.findall(text):
        yield literal or "".join(piece.strip().strip('"') if '"' in piece else "*" for piece in pieces.split(","))
    yield from PATH.findall(text)


def missing(package, source):
    """Yields the included files that are not in the package."""
    text = re.sub(r"^\s*//.*$", "", source.read_text(), flags=re.MULTILINE)
    for pattern in patterns(text):
        folder, _, name = pattern.rpartition("/")
        # In a module that is not a `mod.rs`, `path` within an inline module would name another folder: none is used.
        found = [file.resolve() for file in (source.parent / folder).glob(name)]
        if not found or not all(package in file.parents for file in found):
            yield f"{source.relative_to(ROOT)}: `{pattern}` is not in the package"


def wrong(package):
    """Yields what a package lacks."""
    manifest = tomllib.loads((package / "Cargo.toml").read_text())["package"]
    for key in ("description", "license", "readme", "repository", "keywords", "categories", "rust-version"):
        if not manifest.get(key):
            yield f"{package.name}: no `{key}`"
    if "readme" in manifest and not (package / str(manifest["readme"])).is_file():
        yield f"{package.name}: no {manifest['readme']}"
    for source in sorted([*package.glob("src/**/*.rs"), *package.glob("examples/**/*.rs"), *package.glob("benches/**/*.rs")]):
        yield from missing(package, source)


packages = sorted(path for path in ROOT.iterdir() if path.is_dir())
found = [line for package in packages for line in wrong(package)]
sources = sum(len(list(package.glob("src/**/*.rs"))) for package in packages)
print("\n".join(found), end="\n" if found else "")
print(f"{len(packages)} packages, {sources} sources, {len(found)} missing files or keys; they were not built from the packages")
sys.exit(bool(found) or len(packages) < 15 or sources < 300)
PYTHON
