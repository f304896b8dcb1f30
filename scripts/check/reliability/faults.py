"""Death and errors at each file-system call, through `strace`.

A first run under `strace` lists the calls that touch the work folder. Then, for each kind of call and each number, the
command dies there, or the call fails. Afterwards earlier checkpoints are whole, the message is clear, and the same
command ends with the bits of an undisturbed run. The order of writing, syncing and renaming is read from the same list:
what is renamed into place was synced before, and its folder after.
"""

import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import kills
import observe
import work as works

# The calls that are attacked, and the errors that the system may answer each with.
WRITING = ("ENOSPC", "EIO", "EINTR")
NAMING = ("ENOSPC", "EIO", "EACCES", "EROFS")
CALLS = {
    "openat": ("EMFILE", "EACCES", "EROFS", "ENOSPC", "EIO", "EINTR"),
    "write": WRITING,
    "pwrite64": WRITING,
    "writev": WRITING,
    "copy_file_range": WRITING,
    "ftruncate": WRITING,
    "fallocate": WRITING,
    "fsync": ("EIO", "ENOSPC", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EINTR"),
    "rename": NAMING,
    "renameat": NAMING,
    "renameat2": NAMING,
    "mkdir": NAMING,
    "mkdirat": NAMING,
    "symlink": NAMING,
    "symlinkat": NAMING,
    "link": NAMING,
    "linkat": NAMING,
    "unlink": ("EACCES", "EROFS", "EIO"),
    "unlinkat": ("EACCES", "EROFS", "EIO"),
    "rmdir": ("EACCES", "EROFS", "EIO"),
    "fchmod": ("EIO", "EROFS"),
    "read": ("EIO", "EINTR"),
    "pread64": ("EIO", "EINTR"),
    "getdents64": ("EIO",),
    "statx": ("EACCES", "EIO"),
    "newfstatat": ("EACCES", "EIO"),
    "flock": ("EINTR", "EIO"),
    "mmap": ("ENOMEM", "EACCES"),
    # The standard library asserts that a folder closes well, which Linux promises.
    "close": (),
}
# A full disk and one that breaks stay so.
LASTING = {"ENOSPC", "EIO", "EROFS", "EMFILE"}
# Quoted text in these calls is data, not a file name.
UNNAMED = {"write", "pwrite64", "writev", "read", "pread64", "getdents64", "mmap", "close"}
# A lock need not survive; the other grows line by line, and a checkpoint does not depend on its last lines.
APPENDED = {".lock", "metrics.jsonl"}
LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
DESCRIBED = re.compile(r"<([^<>]+)>")


def can_trace():
    """Returns true if `strace` is installed and may watch a process."""
    traced = ("strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true")
    return shutil.which("strace") and subprocess.run(traced, capture_output=True).returncode == 0


def record(work, subject):
    """The calls of a command that touch its folder: how many of each, and the paths by which `strace` knows them."""

    def make():
        place = work.trial(f"calls-{subject.name.replace(' ', '-')}").resolve()
        log = place.with_suffix(".strace")
        options = ("-f", "-qq", "-y", "--seccomp-bpf", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
        ended = work.run(place, subject.arguments, ("strace", *options))
        if ended.code not in (0, 3, 4):
            raise RuntimeError(f"{subject.name} fails under strace: exit {ended.code}: {ended.told}")
        lines = log.read_text(errors="replace").splitlines()
        counts, names = count(lines, place)
        every = every_checkpoint(work, subject)
        return counts, names, every, unsynced(lines, place)

    return work.once(("calls", subject.name), make)


def every_checkpoint(work, subject):
    """The checkpoints that an undisturbed run goes through; none of a command that does not train."""

    def make():
        place = work.trial(f"kept-{subject.name.replace(' ', '-')}")
        work.run(place, (*subject.arguments, "checkpoint.keep=1000"))
        return observe.checkpoints(place, subject.outputs)

    return work.once(("kept", subject.name), make) if subject.trains else {}


def count(lines, place):
    """For each call, the most that one thread makes in `place`, and the names of what is touched."""
    made, names = Counter(), set()
    for line in lines:
        match = LINE.match(line)
        touched = touches(match[2], match[3], place) if match else set()
        if touched:
            made[match[1], match[2]] += 1
            names |= touched
    counts = Counter()
    for (_, call), number in made.items():
        counts[call] = max(counts[call], number)
    return counts, names


def touches(call, arguments, place):
    """The names in a call's arguments that lie in `place`, relative to it."""
    described = DESCRIBED.findall(arguments)
    found = {name.removeprefix(f"{place}/") for name in described if name.startswith(f"{place}/")}
    if call not in UNNAMED:
        # The program itself is given relative names alone; its loader uses absolute ones.
        quoted = QUOTED.findall(arguments.split(" = ")[0])
        found |= {name for name in quoted if name and not name.startswith("/") and "\\" not in name}
    return {name.removesuffix(" (deleted)") for name in found}


def unsynced(lines, place):
    """The first file that could be lost with the power although its name is there: it, or the folder of its name, is not
    synced. The content of a folder that is renamed into place is synced before; the rest before the command ends."""
    dirty, renamed = set(), {}
    for line in lines:
        match = LINE.match(line)
        if not match or " = -1 " in line:
            continue
        call, arguments = match[2], match[3]
        described = [Path(name) for name in DESCRIBED.findall(arguments) if name.startswith(f"{place}/")]
        if call in ("write", "pwrite64", "writev", "ftruncate") and described:
            dirty.add(described[0])
        elif call == "copy_file_range" and described:
            dirty.add(described[-1])
        elif call in ("fsync", "fdatasync") and described:
            dirty.discard(described[0])
            renamed.pop(described[0], None)
        elif call.startswith("rename"):
            names = [place / name for name in QUOTED.findall(arguments)[:2]]
            if len(names) == 2:
                old, new = names
                inside = [path for path in dirty if old in path.parents]
                if inside:
                    return f"{new.relative_to(place)} is renamed into place before {inside[0].name} is synced"
                if old in dirty:
                    dirty.remove(old)
                    dirty.add(new)
                renamed = {folder: path for folder, path in renamed.items() if folder != old and old not in folder.parents}
                # A file that is renamed in order to be removed may reappear after a power cut.
                if not new.name.endswith(".polymath-tmp"):
                    renamed[new.parent] = new
    lost = sorted(path for path in dirty if path.exists() and path.name not in APPENDED and "tensorboard" not in path.parts)
    if lost:
        return f"{lost[0].relative_to(place)} is never synced"
    for folder, path in renamed.items():
        if folder != place:
            return f"the folder of {path.relative_to(place)} is not synced after the rename"
    return ""


def attack(work, subject, name, injection):
    """One trial: `call number death`, or `call number error`, with `+` where it lasts."""
    expected, code, _ = kills.reference(work, subject)
    _, names, every, _ = record(work, subject)
    call, number, what = injection
    place = work.trial(name).resolve()
    effect = "signal=KILL" if what == "death" else f"error={what.rstrip('+')}"
    lasts = "+" if what.endswith("+") else ""
    paths = [part for path in sorted(names) for part in ("-P", path, "-P", str(place / path))]
    before = (
        *("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}"),
        *("-e", f"inject={call}:{effect}:when={number}{lasts}", *paths),
    )
    ended = work.run(place, subject.arguments, before)
    found = observe.digest(place, subject.outputs)
    if ended.code == code:
        # The call was not reached, or the command can do without it.
        unlike = observe.difference(expected, found)
        return f"ends well although {unlike}" if unlike else ""
    if what != "death":
        unclear = observe.unclear(ended)
        if unclear:
            return unclear
    elif ended.code not in (-9, 137):
        return f"dies with {ended.code}: {observe.first_line(ended.told, '')}"
    broken = observe.broken(place, subject.outputs, every) if subject.trains else ""
    if broken:
        return broken
    ended = work.run(place, subject.again())
    if ended.code != code:
        return f"going on ends with {ended.code}: {observe.first_line(ended.told, '')}"
    unlike = observe.difference(expected, observe.digest(place, subject.outputs))
    return f"after going on, {unlike}" if unlike else ""


def injections(counts):
    """Every way in which a command can be hit, death first."""
    for call, most in sorted(counts.items()):
        for number in range(1, most + 1):
            yield call, number, "death"
            for error in CALLS[call]:
                yield call, number, error
                if error in LASTING:
                    yield call, number, f"{error}+"


def order(work, subject):
    """Returns true if the files that a command writes are synced before they are renamed into place."""
    return record(work, subject)[3]


def trials(work, share):
    """All injections of all commands in a random order, or about `share` of them."""
    planned = []
    subjects = works.PRETRAININGS[:1] + works.FINETUNINGS + works.SWEEPS + works.MAKERS
    if share < 1:
        # Each takes seconds to be listed.
        subjects = works.PRETRAININGS[:1] + works.FINETUNINGS[:1] + works.MAKERS[:1] + works.MAKERS[2:3]
    if work.only:
        # Listing the calls of the others would take minutes.
        subjects = [subject for subject in subjects if work.only.removeprefix("order of ").split(":")[0] == subject.name]
    for subject in subjects:
        name = f"order of {subject.name}"
        planned.append((f"order {subject.name}", name, None, lambda s=subject: order(work, s)))
        for injection in injections(record(work, subject)[0]):
            name = f"{subject.name}: {' '.join(map(str, injection))}"
            kind = "death" if injection[2] == "death" else "errors"
            folder = "fault-" + re.sub(r"\W+", "-", name)
            planned.append(
                (f"{kind} {subject.name}", name, folder, lambda s=subject, f=folder, i=injection: attack(work, s, f, i))
            )
    random_state = random.Random(work.seed)
    random_state.shuffle(planned)
    yield from (trial for trial in planned if trial[2] is None or random_state.random() < share)
