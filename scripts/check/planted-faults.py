#!/usr/bin/env python3
"""Plants one-line faults and says which of them the tests catch.

    scripts/check/planted-faults.py                 # all faults of planted-faults.toml
    scripts/check/planted-faults.py clip muon       # those whose names contain one of the words
    scripts/check/planted-faults.py --check         # only whether every fault still finds its place

Works in a copy of the committed tree, a git worktree below target/planted-faults (or --work FOLDER) with a target folder of its
own. Faults of expressions are built all at once, each behind a switch (planted_switches.py); the others are planted one at a time.
A fault whose outcome is known for the same tree, tests and lines is not tried again, so an interrupted campaign goes on where it
was. Needs Python 3.11.
"""

import argparse
import hashlib
import json
import sys
import time
import tomllib
from pathlib import Path

from planted_tree import ROOT, Outcomes, Together, Tree, failed_tests

LIST = Path(__file__).resolve().parent / "planted-faults.toml"
# So few faults are planted faster one at a time.
FEW = 3


def read_faults(words):
    faults = tomllib.loads(LIST.read_text())["fault"]
    names = [fault["name"] for fault in faults]
    if len(set(names)) < len(names):
        sys.exit(f"{LIST}: two faults have one name")
    return [fault for fault in faults if not words or any(word in fault["name"] for word in words)]


def place(root, fault):
    """The file's text with the fault in it; a sentence where its line is not there once."""
    path = root / fault["file"]
    if not path.is_file():
        return None, f"`{fault['file']}` is not there"
    text = path.read_text()
    found = text.count(fault["old"])
    if found != 1:
        return None, f"`{fault['file']}` has `{fault['old'].strip()}` {found} times, expected once"
    return text.replace(fault["old"], fault["new"]), None


def check_places(faults):
    missed = [f"{fault['name']}: {wrong}" for fault in faults if (wrong := place(ROOT, fault)[1])]
    print("\n".join(missed) or f"all {len(faults)} faults find their places")
    return 1 if missed else 0


def plant(tree, fault):
    """Plants one fault, runs its tests and takes it out again."""
    text, wrong = place(tree.path, fault)
    if wrong:
        return {"outcome": "no place", "said": wrong}
    path = tree.path / fault["file"]
    before = path.read_text()
    begin = time.monotonic()
    try:
        path.write_text(text)
        passed, output = tree.test(fault["tests"])
    finally:
        path.write_text(before)
        tree.forget_cases()
    seconds = round(time.monotonic() - begin)
    if passed is None:
        errors = [line for line in output.splitlines() if line.startswith("error")]
        return {"outcome": "not built", "said": " ".join(errors[:1]), "seconds": seconds}
    if passed:
        return {"outcome": "NOT CAUGHT", "said": "", "seconds": seconds}
    return {"outcome": "caught", "said": failed_tests(output), "seconds": seconds}


class Known:
    """The outcomes of a list of faults, for the same tree, tests and lines."""

    def __init__(self, tree, faults):
        self.tree, self.faults = tree, faults
        self.outcomes = Outcomes(tree.target.parent / "outcomes.json")
        for fault in faults:
            if self.of(fault):
                self.show(fault)

    def key(self, fault):
        return hashlib.sha256(json.dumps([self.tree.tree, fault], sort_keys=True).encode()).hexdigest()

    def of(self, fault):
        return self.outcomes.known.get(self.key(fault))

    def unknown(self):
        return [fault for fault in self.faults if not self.of(fault)]

    def note(self, fault, outcome):
        self.outcomes.note(self.key(fault), outcome)
        self.show(fault)

    def show(self, fault):
        outcome = self.of(fault)
        print(f"| {fault['name']} | {outcome['outcome']} | {outcome['said'][:120]} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of the names of the faults to plant; all, if none is given")
    parser.add_argument("--check", action="store_true", help="only look whether every fault's line is there, once")
    parser.add_argument("--work", type=Path, default=ROOT / "target/planted-faults", help="where the copy lies")
    parser.add_argument("--apart", action="store_true", help="plant one at a time, without switches")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests without any fault first")
    options = parser.parse_args()
    faults = read_faults(options.words)
    if options.check:
        return check_places(faults)
    tree = Tree(options.work.resolve())
    outcomes = Known(tree, faults)
    if len(outcomes.unknown()) > FEW and not options.apart:
        unknown = outcomes.unknown()
        together = Together(tree, unknown, sorted({test for fault in unknown for test in fault["tests"]}))
        print(f"{len(together.left)} of {len(together.faults)} faults are behind switches", flush=True)
        together.check()
        for number in sorted(together.left):
            fault = together.faults[number]
            outcomes.note(fault, together.try_fault(number, fault["tests"]))
        together.restore()
    apart = outcomes.unknown()
    if apart and not options.no_baseline:
        passed, output = tree.test(sorted({test for fault in apart for test in fault["tests"]}))
        if not passed:
            sys.exit(f"the tests fail without any fault:\n{output[-4000:]}")
    for fault in apart:
        outcomes.note(fault, plant(tree, fault))
    caught = sum(outcomes.of(fault)["outcome"] == "caught" for fault in faults)
    print(f"\n{caught} of {len(faults)} faults are caught")
    return 0 if caught == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
