"""Runs the campaigns and prints a table; see `scripts/check/reliability.sh`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import disks
import faults
import kills
import observe
import planted
import soak
import starts
import work as works

CAMPAIGNS = ("kills", "faults", "starts", "disks")
# For `--quick`: trials of each kind, and the share of the injections.
QUICK = {"kills": 16, "faults": 0.004, "starts": 8, "disks": 8}
WHOLE = {"kills": 1000, "faults": 1.0, "starts": 100, "disks": 200, "soak": 1000}


def arguments():
    parser = argparse.ArgumentParser(prog="reliability.sh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: a sample with the same seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after so many; the table says what was tried of what was planned")
    parser.add_argument("--jobs", type=int, default=2, help="commands at the same time")
    parser.add_argument("--only", default=",".join(CAMPAIGNS), help="some of kills,faults,starts,disks; or soak, alone")
    parser.add_argument("--trial", help="one trial again, by the name that the table gives it")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all that was written")
    return parser.parse_args()


def main():
    asked = arguments()
    works.prepare_process()
    root = Path(tempfile.mkdtemp(prefix="reliability-"))
    work = works.Work(root, Path(os.environ["POLYMATH"]), asked.seed, asked.jobs, asked.trial)
    try:
        works.make_fixture(work)
        failed = attack_all(work, asked)
    finally:
        if asked.keep:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if failed else 0)


def attack_all(work, asked):
    """Runs what is asked for, and prints the table; whether anything failed."""
    begin = time.monotonic()
    minutes = asked.minutes or (2 if asked.quick else None)
    amounts = QUICK if asked.quick else WHOLE
    rows, found = [], []
    chosen = asked.only.split(",")
    for number, campaign in enumerate(chosen):
        for check in planted.CHECKS[campaign]:
            missed = check(work)
            state = "skipped" if missed is None else "missed" if missed else "detected"
            rows.append((campaign, f"planted: {check.__name__.replace('_', ' ')}", 1, 1, state, 0.0))
            if missed:
                found.append((campaign, check.__name__, missed))
        # Each campaign has its share of the time that is left.
        left = None if minutes is None else (minutes * 60 - (time.monotonic() - begin)) / (len(chosen) - number)
        rows += attack(work, campaign, (amounts[campaign], left), (asked.trial, found))
    show(rows, found, asked)
    return bool(found)


def planned_trials(work, campaign, amount):
    """The trials of a campaign, or why there can be none."""
    if campaign == "disks" and not disks.can_mount(work):
        return "this process may not mount a small disk"
    if campaign == "faults" and not faults.can_trace():
        return "`strace` is not here, or may not watch a process"
    module = {"kills": kills, "faults": faults, "starts": starts, "disks": disks, "soak": soak}[campaign]
    return list(module.trials(work, amount))


def attack(work, campaign, limits, chosen):
    """The trials of one campaign, several at a time; a row for each kind of them."""
    (amount, seconds), (only, found) = limits, chosen
    planned = planned_trials(work, campaign, amount)
    if isinstance(planned, str):
        say_skipped(f"scripts/check/reliability.sh, {campaign}: {planned}")
        return [(campaign, f"SKIPPED: {planned}", 0, 0, 0, 0.0)]
    planned = [trial for trial in planned if only in (None, trial[1])]
    begin = time.monotonic()
    tried, held = defaultdict(int), defaultdict(int)
    spent = defaultdict(float)

    def run(trial):
        kind, name, folder, attempt = trial
        if seconds is not None and time.monotonic() - begin > seconds:
            return
        started = time.monotonic()
        try:
            wrong = attempt()
        except RuntimeError as error:
            wrong = str(error)
        tried[kind] += 1
        spent[kind] += time.monotonic() - started
        if wrong:
            found.append((campaign, name, wrong))
            print(f"{campaign}: {name}: {wrong}", flush=True)
        else:
            held[kind] += 1
            if folder:
                shutil.rmtree(work.root / folder, ignore_errors=True)

    with ThreadPoolExecutor(work.jobs) as pool:
        list(pool.map(run, planned))
    kinds = dict.fromkeys(trial[0] for trial in planned)
    count = {kind: sum(1 for trial in planned if trial[0] == kind) for kind in kinds}
    return [(campaign, kind, count[kind], tried[kind], held[kind], spent[kind]) for kind in sorted(kinds)]


def say_skipped(what):
    """Adds to the list that `.ci/run` prints of what this machine could not run."""
    if "POLYMATH_SKIPPED" in os.environ:
        with open(os.environ["POLYMATH_SKIPPED"], "a") as file:
            file.write(f"{what}\n")


def show(rows, found, asked):
    """The table: what was planned, tried, what held; then each fault with a command that shows it again."""
    print(f"\n{'campaign':9} {'what':28} {'planned':>8} {'tried':>8} {'held':>9} {'seconds':>8}")
    for campaign, what, planned_count, tried, held, seconds in rows:
        print(f"{campaign:9} {what:28} {planned_count:>8} {tried:>8} {held:>9} {seconds:>8.0f}")
    for campaign in dict.fromkeys(row[0] for row in rows):
        counted = [row for row in rows if row[0] == campaign and isinstance(row[4], int)]
        sums = [sum(row[column] for row in counted) for column in (2, 3, 4)]
        print(f"{campaign:9} {'all':28} {sums[0]:>8} {sums[1]:>8} {sums[2]:>9}")
    print("\nnot compared:")
    for name, reason in observe.LEFT_OUT.items():
        print(f"  {name}: {reason}")
    print(f"  in JSON: {', '.join(sorted(observe.TIMES))}: times of this machine")
    for campaign, name, wrong in found:
        again = f"scripts/check/reliability.sh --seed {asked.seed} --only {campaign} --trial '{name}' --keep"
        print(f"\nFAULT {campaign}: {name}: {wrong}\n  {again}")


main()
