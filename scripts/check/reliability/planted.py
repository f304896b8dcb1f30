"""Each campaign detects a regression of its kind: the checks are given results that were altered as a fault would."""

import shutil

import disks
import faults
import kills
import observe
import soak
import starts
import work as works


def flip(path):
    """Alters one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def program(work, name, script):
    """A program that runs the real one, and then does what a regression would."""
    path = work.root / f"program-{name}"
    path.write_text(f'#!/bin/sh\n"{work.program}" "$@"\ncode=$?\n{script}\n')
    path.chmod(0o755)
    return works.Work(work.root, path, work.seed, work.jobs, work.only, work.references, work.locks)


def one_bit(work):
    """A run whose weights, step or link differ by the least is told from the undisturbed one."""
    subject = works.PRETRAININGS[0]
    expected, _, _ = kills.reference(work, subject)
    whole = work.root / "whole-pretrain"
    missed = []
    for name in ("best/model.safetensors", "latest/optimizer.safetensors", "run.toml"):
        place = work.root / "planted"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place, symlinks=True)
        flip(place / "run" / name)
        if not observe.difference(expected, observe.digest(place, subject.outputs)):
            missed.append(name)
        if "safetensors" in name:
            every = faults.every_checkpoint(work, subject)
            if not observe.broken(place, subject.outputs, every):
                missed.append(f"{name} as a checkpoint")
    (place / "run/latest").unlink()
    (place / "run/latest").symlink_to("step-000002")
    if not observe.difference(expected, observe.digest(place, subject.outputs)):
        missed.append("latest")
    return f"not detected: {', '.join(missed)}" if missed else ""


def damage(work):
    """A failure that damages an earlier checkpoint, one that says nothing and one that is taken for success."""
    if not faults.can_trace():
        return None
    subject = works.PRETRAININGS[0]
    calls, _, _, _ = faults.record(work, subject)
    injection = ("openat", calls["openat"] * 2 // 3, "ENOSPC+")
    if faults.attack(work, subject, "planted-none", injection):
        return "the injection that the planted faults begin with fails by itself"
    damages = {
        "damage": 'for file in run/step-*/model.safetensors; do [ $code = 0 ] || printf x >> "$file"; done; exit $code',
        "silence": 'exec 2>/dev/null; exit $code',
        "success": "exit 0",
    }
    missed = []
    for name, script in damages.items():
        planted = program(work, name, script)
        if name == "silence":
            text = planted.program.read_text().replace('"$@"\n', '"$@" 2>/dev/null\n')
            planted.program.write_text(text)
        if not faults.attack(planted, subject, f"planted-{name}", injection):
            missed.append(name)
    return f"not detected: {', '.join(missed)}" if missed else ""


def unsynced(work):
    """A file that is renamed into place without having been synced is seen in the list of calls."""
    place = work.trial("planted-order").resolve()
    (place / "run").mkdir()
    (place / "run/a").touch()
    call = '1 openat(AT_FDCWD<{0}>, "run/.a.tmp", O_WRONLY|O_CREAT) = 3<{0}/run/.a.tmp>'
    lines = [
        call,
        '1 write(3<{0}/run/.a.tmp>, "x", 1) = 1',
        "1 fsync(3<{0}/run/.a.tmp>) = 0",
        '1 rename("run/.a.tmp", "run/a") = 0',
        "1 fsync(4<{0}/run>) = 0",
    ]
    lines = [line.format(place) for line in lines]
    if faults.unsynced(lines, place):
        return "a write in the right order is refused"
    for left_out in (2, 4):
        if not faults.unsynced(lines[:left_out] + lines[left_out + 1 :], place):
            return f"not detected: `{lines[left_out]}` is left out"
    return ""


def two_winners(work):
    """Two starts that write into one another, and a loser that gives no reason."""
    won, lost = works.Ended(0, ""), works.Ended(1, "error: the run `run` is in use by another process")
    if starts.judge([won, lost], 0, ""):
        return "a start that is refused for the right reason is not a fault"
    mixed = starts.judge([won, won], 0, "run/best/model.safetensors differs")
    wordless = starts.judge([won, works.Ended(1, "error: can't read `run/.lock`")], 0, "")
    return "" if mixed and wordless else "not detected: two winners, or a loser without a reason"


def full_disk(work):
    """A full disk that is taken for success."""
    if not disks.can_mount(work):
        return None
    subject = works.PRETRAININGS[0]
    if disks.attack(work, subject, "planted-disk", 0.5):
        return "the full disk that the planted fault begins with is a fault by itself"
    planted = program(work, "full", "exit 0")
    return "" if disks.attack(planted, subject, "planted-full", 0.5) else "not detected: a full disk taken for success"


def growth(work):
    """A frontier that takes more memory or disk with each start, or ends in other bits."""
    allowed = soak.Most(memory=100_000, disk=1_000_000)
    if soak.judge("", 9, (allowed, allowed)):
        return "a frontier that takes what an undisturbed one takes is not a fault"
    grown = [soak.Most(memory=140_000, disk=1_000_000), soak.Most(memory=100_000, disk=1_300_000)]
    missed = [str(most) for most in grown if not soak.judge("", 9, (most, allowed))]
    if not soak.judge("frontier.json differs", 9, (allowed, allowed)):
        missed.append("other bits")
    return f"not detected: {', '.join(missed)}" if missed else ""


CHECKS = {
    "kills": [one_bit],
    "faults": [damage, unsynced],
    "starts": [two_winners],
    "disks": [full_disk],
    "soak": [growth],
}
