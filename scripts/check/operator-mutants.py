#!/usr/bin/env python3
"""Draws one-line mutants of the sources of crates (mutant_operators.py), builds them at once, says which the tests catch.

    scripts/check/operator-mutants.py --crate eval data --draw 150 --seed 1
    scripts/check/operator-mutants.py --crate eval --draw 20 --list    # only which would be drawn
    scripts/check/operator-mutants.py --crate eval --tests own         # with the crate's own tests alone: a shorter build
    scripts/check/operator-mutants.py --check                          # only whether the explained survivors are there

Where cargo-mutants builds once for each mutant, each lies behind a switch here (planted_switches.py), in a copy of the committed
tree below target/operator-mutants (or --work FOLDER). Each is tried with the crate's unit tests; what survives is tried with the
integration tests of the crate, and with those that TESTS names. A survivor needs a test, or the reason why none is needed in
operator-mutants.toml. Caught mutants stay caught, survivors are tried again once the tree has changed, and an interrupted
campaign goes on where it was. Needs Python 3.11.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import mutant_operators
from planted_tree import JOINED, ROOT, Outcomes, Together, Tree

EXPLAINED = Path(__file__).resolve().parent / "operator-mutants.toml"
# The tests elsewhere that concern a crate: files of integration tests, and unit tests of other crates.
TESTS = {
    "eval": ["frontier_evidence", "numpy", "three_domains", "interpolation", "points_between", "lib report", "tasks", "matrix", "between"],
    "data": ["lib tokenizer", "self_text", "rows", "chat", "own_text", "whole_line"],
    "finetune": ["retention", "limits", "vocabulary", "chain", "adapters", "pins", "dry_runs", "refused"],
    "train": ["wired", "best", "extended", "killed", "signals", "outputs", "dry_runs", "refused", "whole_line"],
}
# Ranges of tests to try; each contains those before it.
RANGES = ["units", "own", "all"]
ALL = 2


def sources(crate):
    """The files of a crate that are not tests alone."""
    folder, files = ROOT / "crates" / crate / "src", {}
    for path in sorted(folder.rglob("*.rs")):
        files[path] = path.read_text()
    tests = {path.parent / (path.stem if path.stem not in ("lib", "mod") else "") / name
             for path, text in files.items() for name in re.findall(r"#\[cfg\(test\)\]\s*mod (\w+);", text)}  # fmt: skip
    return {
        str(path.relative_to(ROOT)): text
        for path, text in files.items()
        if path.with_suffix("") not in tests and not tests & set(path.parents)
    }


def all_mutants(crate):
    return [mutant for file, text in sources(crate).items() for mutant in mutant_operators.mutants(file, text)]


def key(mutant):
    """Returns the name of a mutant, which does not depend on the rest of its file: equal lines share a name."""
    return " | ".join((mutant["file"], mutant["line"], mutant["change"]))


def draw(crate, count, seed):
    """The mutants of least hash: a changed line changes no other one's place in the order."""
    order = {key(mutant): mutant for mutant in all_mutants(crate)}
    return sorted(order.values(), key=lambda mutant: hashlib.sha256(f"{seed} {key(mutant)}".encode()).digest())[:count]


def explained():
    """The survivors that need no test, by key, each with the reason."""
    survivors = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    return {key(survivor): survivor["why"] for survivor in survivors}


def check():
    crates = {name.split("/")[1] for name in explained()}
    there = {key(mutant) for crate in crates for mutant in all_mutants(crate)}
    gone = sorted(set(explained()) - there)
    print("\n".join(f"{EXPLAINED.name}: there is no such mutant any more, take it out: {name}" for name in gone) or
          f"all {len(explained())} explained survivors are there")  # fmt: skip
    return 1 if gone else 0


def crate_of(mutant):
    return mutant["file"].split("/")[1]


class Campaign:
    """The drawn mutants and what became of them."""

    def __init__(self, options):
        self.crates = options.crate
        work = options.work.resolve()
        self.range = RANGES.index(options.tests)
        self.tree = Tree(work, [word for name in self.packages() for word in ("-p", f"polymath-{name}")])
        if self.range != ALL:
            # The tests of the whole program are long to build.
            shutil.rmtree(self.tree.path / "tests")
        self.mutants = [mutant for crate in self.crates for mutant in draw(crate, options.draw, options.seed)]
        self.outcomes = Outcomes(work / "outcomes.json")
        self.temporary = work / "tmp"

    def packages(self):
        """The packages whose tests are built. The program is always among them, since it decides on features."""
        others = [test for crate in self.crates for test in TESTS[crate]] if self.range == ALL else []
        units = {test.removeprefix("lib ") for test in others if test.startswith("lib ")}
        owners = {path.parts[-4] for test in others for path in ROOT.glob(f"crates/*/tests/{JOINED}/{test}.rs")}
        return ["lm", *sorted({*self.crates, *units, *owners})]

    def outcome(self, mutant):
        """Returns the known outcome of a mutant; nothing if it survived another tree's tests, or fewer of them."""
        known = self.outcomes.known.get(key(mutant), {})
        same = known.get("tree") == self.tree.tree and known["tests"] >= self.range
        return known if known.get("outcome") != "NOT CAUGHT" or same else {}

    def run(self):
        unknown = [mutant for mutant in self.mutants if not self.outcome(mutant)]
        if unknown:
            self.try_mutants(unknown)

    def tests_of(self, crate):
        """The tests that are tried with a mutant of a crate: unit tests, then the crate's integration tests, then others."""
        files = sorted((ROOT / "crates" / crate / "tests" / JOINED).glob("*.rs"))
        own = [path.stem for path in files if path.stem != "main"]
        others = [[], own, own + TESTS[crate]][self.range]
        return [f"lib {crate}", *dict.fromkeys(others)]

    def try_mutants(self, unknown):
        tests = list(dict.fromkeys(test for crate in self.crates for test in self.tests_of(crate)))
        self.temporary.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(self.temporary)
        together = Together(self.tree, unknown, tests)
        print(f"{len(together.left)} of {len(unknown)} mutants compile", flush=True)
        for number in set(range(len(unknown))) - together.left:
            self.note(unknown[number], {"outcome": "not built", "said": ""})
        together.check()
        print(", ".join(f"{test} {together.seconds[test]:.0f} s" for test in tests), flush=True)
        for number in sorted(together.left):
            self.note(unknown[number], together.try_fault(number, self.tests_of(crate_of(unknown[number]))))
        together.restore()

    def note(self, mutant, outcome):
        self.outcomes.note(key(mutant), outcome | {"tree": self.tree.tree, "tests": self.range})
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        print(f"{outcome['outcome']}: {mutant['file']}:{mutant['number']}: {mutant['change']} | {outcome['said'][:100]}", flush=True)

    def report(self):
        """Prints the survivors; returns how many of them have no explanation."""
        survivors = [mutant for mutant in self.mutants if self.outcome(mutant)["outcome"] == "NOT CAUGHT"]
        why = explained()
        print("\n| place | change | line | why no test is needed |\n|---|---|---|---|")
        for mutant in sorted(survivors, key=lambda mutant: (mutant["file"], mutant["number"])):
            reason = why.get(key(mutant), "–")
            print(f"| {mutant['file']}:{mutant['number']} | `{mutant['change']}` | `{mutant['line']}` | {reason} |")
        print("\n| crate | tried | caught | share | survivors explained | not built |\n|---|--:|--:|--:|--:|--:|")
        for crate in self.crates:
            drawn = [mutant for mutant in self.mutants if crate_of(mutant) == crate]
            unbuilt = sum(self.outcome(mutant)["outcome"] == "not built" for mutant in drawn)
            left = [mutant for mutant in survivors if crate_of(mutant) == crate]
            tried, alike = len(drawn) - unbuilt, sum(key(mutant) in why for mutant in left)
            caught = tried - len(left)
            print(f"| {crate} | {tried} | {caught} | {100 * caught / max(tried, 1):.1f} % | {alike} of {len(left)} | {unbuilt} |")
        return sum(key(mutant) not in why for mutant in survivors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crate", nargs="+", choices=sorted(TESTS), default=sorted(TESTS), help="the crates whose sources are altered")
    parser.add_argument("--draw", type=int, default=150, metavar="N", help="how many mutants of each crate are drawn")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--tests", choices=RANGES, default=RANGES[ALL], help="the unit tests of a mutant's crate, its own tests, or all")
    parser.add_argument("--list", action="store_true", help="only print the drawn mutants")
    parser.add_argument("--check", action="store_true", help="only look whether every explained survivor is still there")
    parser.add_argument("--work", type=Path, default=ROOT / "target/operator-mutants", help="where the copy lies")
    options = parser.parse_args()
    if options.check:
        return check()
    if options.list:
        for crate in options.crate:
            for mutant in draw(crate, options.draw, options.seed):
                print(f"{mutant['file']}:{mutant['number']}: {mutant['change']}: {mutant['line']}")
        return 0
    campaign = Campaign(options)
    campaign.run()
    return 1 if campaign.report() else 0


if __name__ == "__main__":
    sys.exit(main())
