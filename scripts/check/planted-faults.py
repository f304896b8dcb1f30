#!/usr/bin/env python3
"""Plants one-line faults, one at a time, and says which of them the tests catch.

    scripts/check/planted-faults.py                 # all faults of planted-faults.toml
    scripts/check/planted-faults.py clip muon       # those whose names contain one of the words
    scripts/check/planted-faults.py --check         # only whether every fault still finds its place

Works in a copy of the committed tree, a git worktree below target/planted-faults (or --work FOLDER) with a target folder of its
own. A fault whose outcome is known for the same tree, tests and lines is not tried again, so an interrupted campaign goes on
where it was. Needs Python 3.11.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIST = HERE / "planted-faults.toml"
# A fault may make a test run for ever.
LIMIT = 900


class Tree:
    """The copy in which faults are planted."""

    def __init__(self, work):
        self.path, self.target = work / "tree", work / "target"
        work.mkdir(parents=True, exist_ok=True)
        head = git(ROOT, "rev-parse", "HEAD")
        if self.path.exists():
            git(self.path, "checkout", "--force", "--detach", head)
        else:
            git(ROOT, "worktree", "prune")
            git(ROOT, "worktree", "add", "--force", "--detach", str(self.path), head)
        self.tree = git(self.path, "rev-parse", "HEAD^{tree}")

    def test(self, arguments):
        """Runs tests; returns whether they pass, or `None` where they are not built, and what was said."""
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.target), "CARGO_TERM_COLOR": "never"}
        # A whole command may stand before cargo, to share a machine.
        before = environment.get("PLANTED_FAULTS_BEFORE", "").split()
        try:
            build = run([*before, "cargo", "test", "--workspace", "--no-run", *arguments], self.path, environment, None)
            if build.returncode:
                return None, build.stderr
            tests = run([*before, "cargo", "test", "--workspace", *arguments], self.path, environment, LIMIT)
        except subprocess.TimeoutExpired:
            return False, f"no end within {LIMIT} s"
        return tests.returncode == 0, tests.stdout + tests.stderr


def run(command, folder, environment, limit):
    return subprocess.run(command, cwd=folder, env=environment, timeout=limit, capture_output=True, text=True, errors="replace")


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


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


def failed_tests(output):
    """The names of the tests that failed."""
    names = [line.split()[1] for line in output.splitlines() if line.startswith("test ") and line.rstrip().endswith("FAILED")]
    return ", ".join(names) or output.strip().splitlines()[-1]


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
        passed, output = tree.test(arguments_of(fault))
    finally:
        path.write_text(before)
    seconds = round(time.monotonic() - begin)
    if passed is None:
        errors = [line for line in output.splitlines() if line.startswith("error")]
        return {"outcome": "not built", "said": " ".join(errors[:1]), "seconds": seconds}
    if passed:
        return {"outcome": "NOT CAUGHT", "said": "", "seconds": seconds}
    return {"outcome": "caught", "said": failed_tests(output), "seconds": seconds}


def arguments_of(fault):
    return [word for test in fault["tests"] for word in ("--test", test)] + ["--no-fail-fast"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of the names of the faults to plant; all, if none is given")
    parser.add_argument("--check", action="store_true", help="only look whether every fault's line is there, once")
    parser.add_argument("--work", type=Path, default=ROOT / "target/planted-faults", help="where the copy lies")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests without any fault first")
    options = parser.parse_args()
    faults = read_faults(options.words)
    if options.check:
        return check_places(faults)
    tree = Tree(options.work.resolve())
    known_file = tree.target.parent / "outcomes.json"
    known = json.loads(known_file.read_text()) if known_file.exists() else {}

    tests = sorted({test for fault in faults for test in fault["tests"]})
    if not options.no_baseline:
        passed, output = tree.test([word for test in tests for word in ("--test", test)])
        if not passed:
            sys.exit(f"the tests fail without any fault:\n{output[-4000:]}")
    for fault in faults:
        key = hashlib.sha256(json.dumps([tree.tree, fault], sort_keys=True).encode()).hexdigest()
        if key not in known:
            known[key] = plant(tree, fault)
            beside = known_file.with_suffix(".tmp")
            beside.write_text(json.dumps(known, indent=1))
            beside.replace(known_file)
        fault.update(known[key])
        print(f"| {fault['name']} | {fault['outcome']} | {fault['said'][:120]} |", flush=True)
    caught = sum(fault["outcome"] == "caught" for fault in faults)
    print(f"\n{caught} of {len(faults)} faults are caught")
    return 0 if caught == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
