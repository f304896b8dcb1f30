#!/usr/bin/env python3
"""Compares the map in ARCHITECTURE.md with the crates.

The line of layers names every crate once, the table has a row for each, and no crate depends on one of a layer to its right, or on
one that depends on it. Dependencies of tests and examples are free. A crate inside of another's folder serves tests: it has a row in
the table, and no crate depends on it otherwise, except for a feature of one platform (`[target.….dependencies]`).

    scripts/check/architecture.py     exits with 1 and names what differs
"""

import re
import sys
import tomllib
from pathlib import Path


def faults(text, uses):
    """Yields what differs between the map's text and `uses`, the crates that each crate depends on."""
    line = next((line for line in text.splitlines() if " ← " in line and line.startswith("`")), "")
    layers = [[name.strip() for name in layer.strip("` ").split(",")] for layer in line.split("←")]
    at = {name: number for number, layer in enumerate(layers) for name in layer}
    nested = {name for name in uses if "/" in name}
    for name in sorted((set(uses) - nested) ^ set(at)):
        yield f"`{name}`: {'no such crate' if name in at else 'not in the line of layers'}"
    for name in sorted(set(uses) - set(re.findall(r"^\| `crates/([\w/]+)` \|", text, re.MULTILINE))):
        yield f"`{name}`: no row in the table of crates"
    for name, used in uses.items():
        for other in used:
            if any(inner.endswith(f"/{other}") for inner in nested):
                yield f"`{name}` depends on `{other}` outside of its tests"
            if at.get(other, 0) > at.get(name, 0):
                yield f"`{name}` depends on `{other}`, which is of a layer above it"
            if reaches(uses, other, name):
                yield f"`{name}` and `{other}` depend on each other"


def reaches(uses, start, end):
    """Tells whether `start` depends on `end`, directly or not."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(uses.get(name, []))
    return False


def check_itself():
    """Fails unless planted differences are found."""
    text = "`a, b` ← `c`\n| `crates/a` |\n| `crates/b` |\n"
    found = list(faults(text, {"a": ["c"], "b": [], "c": ["a"], "d": []}))
    inner = list(faults(text, {"a": ["d"], "b": [], "c": [], "a/d": []}))
    if len(found) != 6 or len(inner) != 3 or list(faults(text + "| `crates/c` |\n", {"a": [], "b": ["a"], "c": ["a"]})):
        sys.exit(f"architecture.py does not find the faults that it plants: {found}")


def main():
    check_itself()
    root = Path(__file__).parents[2]
    uses = {}
    for manifest in sorted([*root.glob("crates/*/Cargo.toml"), *root.glob("crates/*/*/Cargo.toml")]):
        names = tomllib.loads(manifest.read_text()).get("dependencies", {})
        uses[manifest.parent.relative_to(root / "crates").as_posix()] = [name.removeprefix("polymath-") for name in names if name.startswith("polymath-")]
    found = list(faults((root / "ARCHITECTURE.md").read_text(), uses))
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    print(f"{len(uses)} crates, {sum(map(len, uses.values()))} dependencies between them, {len(found)} differences from the map")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
