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
    """(what, milliseconds fused, milliseconds composed) of all that was measured both ways."""
    for name, fused in functions.items():
        if "fused" in name and (composed := functions.get(name.replace("fused", "composed"))):
            yield name.replace("fused", "").strip(" ,"), fused, composed


def main():
    print("| operation | | fused, ms | composed, ms | |\n|---|---|--:|--:|--:|")
    for group, functions in medians(Path(sys.argv[1])).items():
        for what, fused, composed in pairs(functions):
            print(f"| {group} | {what} | {fused:.2f} | {composed:.2f} | {composed / fused:.1f}× |")


main()
