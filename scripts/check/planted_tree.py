"""A copy of the committed tree in which faults are planted, its tests, and faults that are built all at once behind switches."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import planted_switches as switches

ROOT = Path(__file__).resolve().parents[2]
# The program of a crate's integration tests, of which each file is a module.
JOINED = "it"
# A fault may make a test run for ever, or fill memory or a file.
LIMIT = 900
MEMORY, FILE = 12 << 30, 2 << 30


class Tree:
    """The copy in which faults are planted. `packages` are cargo's arguments that choose what is built."""

    def __init__(self, work, packages=("--workspace",)):
        self.path, self.target, self.packages = work / "tree", work / "target", packages
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
        return run([*before, "cargo", "test", *self.packages, *arguments], self.path, environment, limit)

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
        """Builds tests: their programs by name, each with its arguments and the folder to run it in, and the files and bytes of
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
                errors += [(span["file_name"], span["byte_start"], span["byte_end"]) for span in spans]
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


def run(command, folder, environment, limit):
    """Runs a command with bounded files and, with a time limit, bounded memory; at the limit it ends with all that it started."""

    def bound():
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True, preexec_fn=bound if limit else None,
    )  # fmt: skip
    try:
        said, errors = process.communicate(timeout=limit)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def failed_tests(output):
    """The names of the tests that failed."""
    names = [line.split()[1] for line in output.splitlines() if line.startswith("test ") and line.rstrip().endswith("FAILED")]
    return ", ".join(names) or (output.strip().splitlines() or ["nothing said"])[-1]


class Together:
    """Faults that are built at once, each behind its switch. Those that do not compile so are left out."""

    def __init__(self, tree, faults, tests):
        self.tree, self.faults, self.tests = tree, faults, tests
        self.sound = {fault["file"]: (tree.path / fault["file"]).read_text() for fault in faults}
        self.left = set(range(len(faults)))
        self.seconds = {}
        while errors := self.build():
            unfit = {number for error in errors for number in self.faults_at(error)}
            if not unfit:
                sys.exit(f"faults behind switches are not built: {errors[:5]}")
            self.left -= unfit
        self.left &= set(self.places)

    def build(self):
        """Builds the tests with the faults that are left, and notes the places of each; returns errors."""
        self.places = {}
        for file, sound in self.sound.items():
            chosen = [(number, self.faults[number]) for number in sorted(self.left) if self.faults[number]["file"] == file]
            text, placed = switches.switched(sound, chosen)
            (self.tree.path / file).write_text(text)
            for number, spans in placed.items():
                self.places[number] = file, *([len(text[:at].encode()) for at in span] for span in spans)
        self.programs, errors = self.tree.build(self.tests)
        return errors

    def faults_at(self, error):
        """The faults whose own text an error is in; those of the whole expression, where it is in no one's text."""
        error_file, first, last = error
        for which in (1, 2):
            spans = {number: place[which] for number, place in self.places.items() if place[0] == error_file}
            if overlap := {number for number, (begin, end) in spans.items() if first < end and begin < last}:
                return overlap
        return set()

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
        for test in self.tests:
            begin = time.monotonic()
            failed = self.run(test)
            if failed:
                sys.exit(f"the tests `{test}` fail without any fault: {failed}")
            self.seconds[test] = time.monotonic() - begin

    def try_fault(self, number, tests):
        """Runs tests with one fault switched on until one fails."""
        begin = time.monotonic()
        failed = ""
        for test in tests:
            failed = failed or self.run(test, number)
        self.tree.forget_cases()
        outcome = "caught" if failed else "NOT CAUGHT"
        return {"outcome": outcome, "said": failed, "seconds": round(time.monotonic() - begin)}

    def restore(self):
        for file, sound in self.sound.items():
            (self.tree.path / file).write_text(sound)


class Outcomes:
    """Outcome of each fault, stored in a file under a key."""

    def __init__(self, file):
        self.file = file
        self.known = json.loads(file.read_text()) if file.exists() else {}

    def note(self, key, outcome):
        self.known[key] = outcome
        beside = self.file.with_suffix(".tmp")
        beside.write_text(json.dumps(self.known, indent=1))
        beside.replace(self.file)
