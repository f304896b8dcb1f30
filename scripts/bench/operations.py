"""The table of operations.sh, out of criterion's files."""

import json
import sys
from pathlib import Path


def medians(folder):
    """Milliseconds of every benchmark, by group and function, in the order in which they ran."""
    found = {}
    for file in sorted(folder.glob("*/*/new/benchmark.json"), key=lambda path: path.stat().st_mtime):
        name = json.loads(file.read_text())
        estimates = json.loads((file.parent / "estimates.json").read_text())
        found.setdefault(name["group_id"], {})[name["function_id"]] = estimates["median"]["point_estimate"] / 1e6
    return found


def pairs(functions):
    """(what, milliseconds fused, milliseconds reference) of all that was measured both ways."""
    for name, fused in functions.items():
        if "fused" in name and (reference := functions.get(name.replace("fused", "reference"))):
            yield name.replace("fused", "").strip(" ,"), fused, reference


def main():
    print("| operation | | fused, ms | reference, ms | |\n|---|---|--:|--:|--:|")
    for group, functions in medians(Path(sys.argv[1])).items():
        for what, fused, reference in pairs(functions):
            print(f"| {group} | {what} | {fused:.2f} | {reference:.2f} | {reference / fused:.1f}× |")


main()
