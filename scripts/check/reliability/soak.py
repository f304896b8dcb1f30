"""Soak: a frontier that is killed again and again ends with the same bits, without growing memory or disk."""

import os
import random
import time
from dataclasses import dataclass

import kills
import observe
import work as works

# A frontier of so many seeds and steps takes about a minute undisturbed, and several with its kills.
SETTINGS = ("seeds=[1,2,3]", "shared.training.steps=60", "shared.evaluation.every=10", "shared.checkpoint.every=5")
SUBJECT = works.Subject("soak", ("frontier", "frontier.toml", *SETTINGS), ("frontier",), goes_on=True)
# Seconds between two kills: time enough for a checkpoint, and too little for a run.
LEAST_WAIT, MOST_WAIT = 0.3, 3.0
# Memory and disk may take as many times the undisturbed frontier's most. A small process varies by some kB on its own.
MEMORY_ROOM, DISK_ROOM = 1.15, 1.15
MEMORY_NOISE = 20_000


@dataclass
class Most:
    """The most memory of a process and the most bytes of a folder that were seen."""

    memory: int = 0
    disk: int = 0

    def see(self, process, place):
        self.memory = max(self.memory, peak_memory(process.pid))
        self.disk = max(self.disk, size(place / "frontier"))


def peak_memory(pid):
    """The peak resident memory of a process in kB; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def size(folder):
    """Bytes of all files below a folder; files that go meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                pass
    return total


def watch(process, place, most, seconds=None):
    """Waits for the end of a process, for `seconds` at most, and notes what it takes; whether it has ended."""
    begin = time.monotonic()
    while process.poll() is None:
        most.see(process, place)
        if seconds is not None and time.monotonic() - begin > seconds:
            return False
        time.sleep(0.05)
    return True


def reference(work):
    """Files, memory and disk of the undisturbed frontier; made once."""

    def make():
        place = work.trial("whole-soak")
        most = Most()
        process = work.start(place, SUBJECT.arguments)
        watch(process, place, most)
        ended = works.finish(process)
        if ended.code != 0:
            raise RuntimeError(f"the frontier fails undisturbed: exit {ended.code}: {ended.told}")
        return observe.digest(place, SUBJECT.outputs), most

    return work.once("soak", make)


def attack(work, name, random_state):
    """One frontier, killed until it ends; what is wrong with its end, or nothing."""
    expected, allowed = reference(work)
    place = work.trial(name)
    most, killed = Most(), 0
    while True:
        process = work.start(place, SUBJECT.arguments)
        chosen = random_state.choice(kills.SIGNALS)
        if watch(process, place, most, random_state.uniform(LEAST_WAIT, MOST_WAIT)):
            ended = works.finish(process)
            break
        killed += 1
        process.send_signal(chosen)
        ended = works.finish(process)
        if ended.code == 0:
            break
        if ended.code not in (130, -chosen):
            return f"after {killed} kills ({chosen.name}): exit {ended.code}: {observe.first_line(ended.told, '')}"
    if ended.code != 0:
        return f"after {killed} kills: exit {ended.code}: {observe.first_line(ended.told, '')}"
    print(
        f"{name}: {killed} kills, at most {most.memory / 1024:.0f} MB of memory ({allowed.memory / 1024:.0f} undisturbed) and "
        f"{most.disk / 1e6:.2f} MB of disk ({allowed.disk / 1e6:.2f})",
        flush=True,
    )
    return judge(observe.difference(expected, observe.digest(place, SUBJECT.outputs)), killed, (most, allowed))


def judge(unlike, killed, taken):
    """Describes the fault in a frontier that ended; empty if there is none."""
    most, allowed = taken
    if unlike:
        return f"after {killed} kills: {unlike}"
    if most.memory > allowed.memory * MEMORY_ROOM + MEMORY_NOISE:
        return f"after {killed} kills: {most.memory} kB of memory, {allowed.memory} undisturbed"
    if most.disk > allowed.disk * DISK_ROOM:
        return f"after {killed} kills: {most.disk} bytes of disk, {allowed.disk} undisturbed"
    return ""


def trials(work, count):
    """One frontier after the other, each with a random plan that depends on the seed and its number alone."""
    for number in range(count):
        name = f"soak-{number}"
        random_state = random.Random(f"{work.seed} {name}")
        yield "frontier", name, name, lambda n=name, r=random_state: attack(work, n, r)
