"""Full disks: on a small disk of its own, a command fails with a clear message; with more room it continues."""

import os
import random
import subprocess

import faults
import kills
import observe
import work as works

PAGE = 4096
# Room for the fixture and the files that a command writes.
ENOUGH = 256 << 20


def can_mount(work):
    """Returns true if this process may mount a small disk."""
    place = work.root / "mount"
    place.mkdir(exist_ok=True)
    return mount(place, 1 << 20) and unmount(place)


def mount(place, size):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    return mounted.returncode == 0


def resize(place, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True, capture_output=True)


def used(place):
    """Bytes that are taken on a small disk."""
    disk = os.statvfs(place)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def unmount(place):
    return subprocess.run(["umount", place], capture_output=True).returncode == 0


def room(place):
    """Bytes that the files of a folder take."""
    sizes = (path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def attack(work, subject, name, share):
    """One trial on a disk with room for the fixture and `share` of what the command leaves behind."""
    expected, code, _ = kills.reference(work, subject)
    whole = work.root / f"whole-{subject.name.replace(' ', '-')}"
    needed = room(whole) - room(work.fixture)
    every = faults.every_checkpoint(work, subject)
    place = work.root / name
    place.mkdir()
    if not mount(place, ENOUGH):
        return "the small disk can't be mounted"
    try:
        subprocess.run(["cp", "-a", f"{work.fixture}/.", place], check=True, capture_output=True)
        resize(place, used(place) + max(int(share * needed), PAGE))
        ended = work.run(place, subject.arguments)
        return judge(work, subject, (ended, code, expected), (place, every))
    finally:
        unmount(place)


def judge(work, subject, found, disk):
    """Describes the fault in the end of a command on a small disk."""
    (ended, code, expected), (place, every) = found, disk
    if ended.code == code:
        unlike = observe.difference(expected, observe.digest(place, subject.outputs))
        return f"ends well although {unlike}" if unlike else ""
    if observe.unclear(ended):
        return observe.unclear(ended)
    # A run that needs more room than there is says so before it begins.
    if not any(told in ended.told for told in ("No space left", "MB are free there")):
        return f"does not say that the disk is full: {observe.first_line(ended.told, '')}"
    broken = observe.broken(place, subject.outputs, every) if subject.trains else ""
    if broken:
        return broken
    resize(place, ENOUGH)
    ended = work.run(place, subject.again())
    if ended.code != code:
        return f"with more room, going on ends with {ended.code}: {observe.first_line(ended.told, '')}"
    unlike = observe.difference(expected, observe.digest(place, subject.outputs))
    return f"with more room, {unlike}" if unlike else ""


def trials(work, count):
    subjects = works.PRETRAININGS[:1] + works.FINETUNINGS + works.MAKERS[:6]
    for number in range(count):
        subject = subjects[number % len(subjects)]
        name = f"disk-{number}"
        share = random.Random(f"{work.seed} {name}").random()
        yield subject.name, name, name, lambda s=subject, n=name, p=share: attack(work, s, n, p)
