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
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import planted_switches as switches

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIST = HERE / "planted-faults.toml"
# The program of a crate's integration tests, of which each file is a module.
JOINED = "it"
# A fault may make a test run for ever.
LIMIT = 900
# So few faults are planted faster one at a time.
FEW = 3


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
        self.forget_cases()

    def forget_cases(self):
        """Removes the failing cases that proptest keeps: a test would catch the next fault by them, not by its own draws."""
        git(self.path, "clean", "--force", "--quiet", "--", "*.proptest-regressions")

    def cargo(self, arguments, limit=None):
        """Runs `cargo test`."""
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.target), "CARGO_TERM_COLOR": "never"}
        # A whole command may stand before cargo, to share a machine.
        before = environment.get("PLANTED_FAULTS_BEFORE", "").split()
        return run([*before, "cargo", "test", "--workspace", *arguments], self.path, environment, limit)

    def test(self, tests):
        """Runs tests; returns whether they pass, or `None` where they are not built, and what was said."""
        said = ""
        try:
            build = self.cargo(["--no-run", *arguments_of(tests)])
            if build.returncode:
                return None, build.stderr
            for arguments in runs_of(tests):
                done = self.cargo(["--no-fail-fast", *arguments], LIMIT)
                said += done.stdout + done.stderr
                if done.returncode:
                    return False, said
        except subprocess.TimeoutExpired:
            return False, f"no end within {LIMIT} s"
        return True, said

    def build(self, tests):
        """Builds tests: their programs by name, each with its arguments and the folder to run it in, and the files and lines of
        errors."""
        built = self.cargo(["--no-run", "--message-format=json", *arguments_of(tests)])
        programs, errors = {}, []
        for line in built.stdout.splitlines():
            message = json.loads(line) if line.startswith("{") else {}
            target, program = message.get("target", {}), message.get("executable")
            if message.get("reason") == "compiler-artifact" and program and message["profile"]["test"]:
                folder = Path(message["manifest_path"]).parent
                for name, filters in tests_of(target, folder):
                    programs.setdefault(name, []).append(([program, *filters], folder))
            if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
                spans = [span for span in message["message"]["spans"] if span["is_primary"]]
                errors += [(span["file_name"], span["line_start"], span["line_end"]) for span in spans]
        if built.returncode and not errors:
            sys.exit(f"the tests are not built:\n{built.stderr[-4000:]}")
        return programs, errors


def tests_of(target, folder):
    """Yields the names of the tests that a program holds, each with the arguments that choose them."""
    if "test" not in target["kind"]:
        yield f"lib {folder.name}", []
    elif target["name"] != JOINED:
        yield target["name"], []
    else:
        for file in folder.glob(f"tests/{JOINED}/*.rs"):
            if file.name != "main.rs":
                yield file.stem, [f"{file.stem}::"]


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


def runs_of(tests):
    """Cargo's arguments for tests by name, one list for each run: the files of the joined programs, programs of their own, and unit
    tests, `lib data`. Unit tests of all crates are run, since they are built together."""
    alone = {test for test in tests if list(ROOT.glob(f"tests/{test}.rs")) + list(ROOT.glob(f"crates/*/tests/{test}.rs"))}
    files = [f"{test}::" for test in tests if not test.startswith("lib ") and test not in alone]
    units = any(test.startswith("lib ") for test in tests)
    runs = [["--test", JOINED, "--", *files]] if files else []
    return runs + [["--test", test] for test in sorted(alone)] + ([["--lib"]] if units else [])


def arguments_of(tests):
    """Cargo's arguments that build tests."""
    return [word for arguments in runs_of(tests) for word in arguments[: arguments.index("--") if "--" in arguments else None]]


class Together:
    """All faults that can be switched on in one build."""

    def __init__(self, tree, faults):
        self.tree, self.faults = tree, faults
        self.sound = {fault["file"]: (tree.path / fault["file"]).read_text() for fault in faults}
        self.left = set(range(len(faults)))
        self.tests = sorted({test for fault in faults for test in fault["tests"]})
        while errors := self.build():
            unfit = {number for number in self.left if any(self.is_at(number, error) for error in errors)}
            if not unfit:
                sys.exit(f"faults behind switches are not built: {errors[:5]}")
            self.left -= unfit
        self.left &= set(self.lines)

    def build(self):
        """Builds the tests with the faults that are left, and notes the lines of each; returns errors."""
        self.lines = {}
        for file, sound in self.sound.items():
            chosen = [(number, self.faults[number]) for number in sorted(self.left) if self.faults[number]["file"] == file]
            text, placed = switches.switched(sound, chosen)
            (self.tree.path / file).write_text(text)
            for number in placed:
                at = text.index(switches.switch(number))
                self.lines[number] = (file, text.count("\n", 0, at) + 1)
        self.programs, errors = self.tree.build(self.tests)
        return errors

    def is_at(self, number, error):
        (file, line), (error_file, first, last) = self.lines.get(number, ("", 0)), error
        return file == error_file and first - 8 <= line <= last

    def run(self, test, number=""):
        """Runs a test's programs with one fault switched on; the names of the tests that failed, or nothing."""
        for command, folder in self.programs[test]:
            environment = {**os.environ, switches.VARIABLE: str(number), "CARGO_MANIFEST_DIR": str(folder)}
            limit = LIMIT if number == "" else 60 + 10 * self.seconds[test]
            try:
                done = run(command, folder, environment, limit)
            except subprocess.TimeoutExpired:
                return f"no end within {limit:.0f} s"
            if done.returncode:
                return failed_tests(done.stdout + done.stderr)
        return ""

    def check(self):
        """The tests pass with no fault switched on; notes how long they take."""
        self.seconds = {}
        for test in self.tests:
            begin = time.monotonic()
            failed = self.run(test)
            if failed:
                sys.exit(f"the tests `{test}` fail without any fault: {failed}")
            self.seconds[test] = time.monotonic() - begin

    def try_fault(self, number):
        begin = time.monotonic()
        failed = ""
        for test in self.faults[number]["tests"]:
            failed = failed or self.run(test, number)
        self.tree.forget_cases()
        outcome = "caught" if failed else "NOT CAUGHT"
        return {"outcome": outcome, "said": failed, "seconds": round(time.monotonic() - begin)}

    def restore(self):
        for file, sound in self.sound.items():
            (self.tree.path / file).write_text(sound)


class Outcomes:
    """What became of each fault, kept in a file."""

    def __init__(self, tree, faults):
        self.tree, self.faults = tree, faults
        self.file = tree.target.parent / "outcomes.json"
        self.known = json.loads(self.file.read_text()) if self.file.exists() else {}
        for fault in faults:
            if self.of(fault):
                self.show(fault)

    def key(self, fault):
        return hashlib.sha256(json.dumps([self.tree.tree, fault], sort_keys=True).encode()).hexdigest()

    def of(self, fault):
        return self.known.get(self.key(fault))

    def unknown(self):
        return [fault for fault in self.faults if not self.of(fault)]

    def note(self, fault, outcome):
        self.known[self.key(fault)] = outcome
        beside = self.file.with_suffix(".tmp")
        beside.write_text(json.dumps(self.known, indent=1))
        beside.replace(self.file)
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
    outcomes = Outcomes(tree, faults)
    if len(outcomes.unknown()) > FEW and not options.apart:
        together = Together(tree, outcomes.unknown())
        print(f"{len(together.left)} of {len(together.faults)} faults are behind switches", flush=True)
        together.check()
        for number in sorted(together.left):
            outcomes.note(together.faults[number], together.try_fault(number))
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
