#!/usr/bin/env python3
"""Altered files against every reader: no panic, no hang over 10 s, at most 1 GB of memory beyond what the file needs.

First each reader in a process of its own (`mutants` of the crate in `fuzz/`: many mutants a second), then the program
itself, as a user meets it. A table for each, with a command that shows every fault again; exit code 1 if there is one.

  scripts/check/mutate-files.py [--quick] [--seed N] [--mutants N] [--whole N] [--seconds N] [FORMAT …]
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds of a processor, and on the clock of a machine that is busy with other work.
TIME_LIMIT = 10
WAIT_LIMIT = 60
# Kilobytes beyond what the sound file takes.
MEMORY_LIMIT = 1 << 20
# Bytes of addresses: what asks for more is refused by the system before it harms the machine.
ADDRESSES = 16 << 30

GENERATE = ("--prompt", "ba", "--max-tokens", "2")
# For each format, what the program is asked to do with it.
COMMANDS = {
    "safetensors": [("generate", "model", *GENERATE)],
    "config": [("generate", "model", *GENERATE)],
    "index": [("generate", "sharded", *GENERATE)],
    "adapter": [("generate", "adapter", "--base", "model", *GENERATE)],
    "adapter-config": [("generate", "adapter", "--base", "model", *GENERATE)],
    "gguf": [("import", "model.gguf", "-o", "made")],
    "tokenizer": [("generate", "model", *GENERATE), ("prepare", "given.toml")],
    "tokenizer-config": [("prepare", "given.toml"), ("export", "model", "--card", "made.md")],
    "template": [("prepare", "given.toml", 'tokenizer.path="chatting/tokenizer.json"')],
    "shard": [("dataset", "text", "data", "--domain", "letters", "--split", "train")],
    "manifest": [("dataset", "info", "data"), ("pretrain", "pretrain.toml", "run=made", "--dry-run")],
    "parquet": [("prepare", "given.toml", 'domains.chat.paths=["text.parquet"]')],
    "jsonl": [("prepare", "given.toml", 'domains.chat.paths=["text.jsonl"]')],
    "chat": [("prepare", "given.toml")],
    "json": [("prepare", "given.toml", 'domains.chat.paths=["text.json"]')],
    "sharegpt": [("prepare", "given.toml", 'domains.chat.paths=["sharegpt.json"]')],
    "csv": [("prepare", "given.toml", 'domains.chat.paths=["text.csv"]')],
    "source": [("prepare", "given.toml", 'domains.chat.paths=["text.py"]')],
    "gz": [("prepare", "given.toml", 'domains.chat.paths=["text.txt.gz"]')],
    "zst": [("prepare", "given.toml", 'domains.chat.paths=["text.jsonl.zst"]')],
    "tasks": [("evaluate", "model", "--tasks", "task.jsonl")],
    "questions": [("prepare", "prepare.toml", "output=made")],
    "toml-prepare": [("prepare", "prepare.toml", "output=made")],
    "toml-pretrain": [("pretrain", "pretrain.toml", "run=made", "--dry-run")],
    "state": [("evaluate", "run", "--max-tokens", "50"), ("pretrain", "pretrain.toml", "--resume")],
    "metrics": [("pretrain", "pretrain.toml", "--resume"), ("export", "run", "--card", "made.md")],
}
GIVEN = """output = "made"
heldout_fraction = 0.3
[tokenizer]
path = "model/tokenizer.json"
[domains.chat]
paths = ["chat.jsonl"]
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", help="default: all")
    parser.add_argument("--quick", action="store_true", help="half a minute: a sample with the same seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=50_000, help="of each format, for its reader")
    parser.add_argument("--whole", type=int, default=500, help="of each format, for the program")
    parser.add_argument("--seconds", type=int, help="stop each format's reader after so many")
    return parser.parse_args()


def program(name):
    """A program of this repository: the one that `MUTANTS` or `POLYMATH` names, else it is built."""
    given = os.environ.get(name.upper())
    if given:
        return Path(given).resolve()
    # With the tests, so that what `cargo test` has built is used: their dependencies switch on further features, without which
    # nearly every crate would be compiled again.
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--tests", "--bins"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / name


def run(path, place, command):
    """Runs a command: its exit code (None: it hung), kilobytes at most, and what it said."""
    process = subprocess.Popen(
        [path, "--device", "cpu", "--threads", "1", "--quiet", *command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT + 1)),
        env={key: value for key, value in os.environ.items() if not key.startswith(("RUST_", "HF_"))}
        | {"HF_HUB_OFFLINE": "1"},
    )
    hung = threading.Event()

    def stop():
        hung.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(WAIT_LIMIT, stop)
    timer.start()
    told = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    hangs = hung.is_set() or process.returncode == -signal.SIGXCPU
    return None if hangs else process.returncode, used.ru_maxrss, told


def wrong(ended, usual):
    """Describes the forbidden behavior of a command; empty if there was none."""
    code, memory, told = ended
    if code is None:
        return "hangs"
    if "panicked" in told:
        return next(line for line in told.splitlines() if "panicked" in line)
    if code not in (0, 1, 2, 3):
        return f"ends with {code}: {told.strip()[-160:]}"
    if memory > usual + MEMORY_LIMIT:
        return f"takes {memory // 1024} MB, {usual // 1024} MB with the sound file"
    if code != 0 and not told.startswith("error: ") and "\nerror: " not in told:
        return f"ends with {code} and without a word"
    return ""


def fresh(corpus, place):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(corpus, place, symlinks=True)
    (place / "given.toml").write_text(GIVEN)


def attack(polymath, mutants, corpus, asked, found):
    """The program with mutants of each format; prints a line for each."""
    files = dict(line.split("\t") for line in subprocess.check_output([mutants, "formats"], text=True).splitlines())
    print(f"\n{'format':18} {'runs':>7} {'done':>7} {'refused':>8} {'faults':>7} {'seconds':>8}")
    for name in asked.formats or files:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            made, place = Path(folder) / "mutants", Path(folder) / "place"
            options = ["--corpus", corpus, "--format", name, "--seed", str(asked.seed), "--to", str(asked.whole)]
            subprocess.run([mutants, "emit", *options, "--into", made], check=True)
            fresh(corpus, place)
            usual = {command: run(polymath, place, command)[1] for command in COMMANDS[name]}
            counts = {"done": 0, "refused": 0, "faults": 0}
            for number in range(asked.whole):
                for command in COMMANDS[name]:
                    fresh(corpus, place)
                    shutil.copy(made / str(number), place / files[name])
                    ended = run(polymath, place, command)
                    fault = wrong(ended, usual[command])
                    counts["faults" if fault else "refused" if ended[0] else "done"] += 1
                    if fault:
                        found.append((name, number, " ".join(command), fault))
        seconds = time.monotonic() - begin
        runs = sum(counts.values())
        row = f"{runs:>7} {counts['done']:>7} {counts['refused']:>8} {counts['faults']:>7} {seconds:>8.0f}"
        print(f"{name:18} {row}", flush=True)


def self_check():
    """Programs that fail in each way that is looked for are seen to fail."""
    failing = {
        "panics": "echo \"thread 'main' panicked at a.rs\" >&2; exit 101",
        "hangs": "while :; do :; done",
        "dies": "kill -SEGV $$",
        "silent": "exit 1",
        "memory": "exec python3 -c 'b = bytearray(1300 << 20); print(len(b))'",
    }
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, script in failing.items():
            path = Path(folder) / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            if not wrong(run(path, folder, ()), 10_000):
                missed.append(name)
    print(f"planted: {'MISSED: ' + ', '.join(missed) if missed else 'detected: ' + ', '.join(failing)}")
    return not missed


def main():
    asked = arguments()
    if asked.quick:
        asked.mutants, asked.whole, asked.seconds = 2000, 1, asked.seconds or 1
    mutants, polymath = program("mutants"), program("polymath")
    # Processes that are started from here on inherit it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    sound = self_check()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        subprocess.run([mutants, "corpus", corpus], check=True)
        options = ["--corpus", corpus, "--mutants", str(asked.mutants), "--seed", str(asked.seed), "--self-check"]
        if asked.seconds:
            options += ["--seconds", str(asked.seconds)]
        sound &= subprocess.run([mutants, "run", *asked.formats, *options]).returncode == 0
        found = []
        attack(polymath, mutants, corpus, asked, found)
        for name, number, command, fault in found:
            print(f"\nFAULT {name}, mutant {number}: {fault}\n  polymath {command}")
            print(f"  mutants emit --corpus <corpus> --format {name} --seed {asked.seed} --from {number} --to {number + 1}")
    sys.exit(0 if sound and not found else 1)


main()
