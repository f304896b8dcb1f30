"""Digests of the files that a command wrote, for comparisons, and the conditions that must hold after a failure."""

import hashlib
import json
import re
from pathlib import Path

# Left out of the comparison, with the reason. Everything else must have the same bits.
LEFT_OUT = {
    ".lock": "is empty; it is there as long as the folder",
    "tensorboard/": "named after the time; `metrics.jsonl` once more",
    "frontier.md": "quotes seconds; `frontier.json` is compared",
    "frontier.html": "quotes seconds; `frontier.json` is compared",
}
# Keys of JSON files that are times of this machine.
TIMES = {"seconds", "tokens_per_second", "seconds_left", "begun"}


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


def content(path):
    """The bytes of a file that must be equal."""
    data = path.read_bytes()
    try:
        if path.name.endswith(".jsonl"):
            return "\n".join(json.dumps(without_times(json.loads(line))) for line in data.splitlines()).encode()
        if path.name in ("state.json", "frontier.json", "environment.json"):
            return json.dumps(without_times(json.loads(data))).encode()
    except ValueError:
        pass
    return data


def digest(place, outputs):
    """SHA-256 of every file that a command has written, by its name; of a link, its target."""
    found = {}
    for output in outputs:
        top = place / output
        paths = sorted(top.rglob("*")) if top.is_dir() else [top] if top.exists() else []
        for path in paths:
            name = str(path.relative_to(place))
            if any(f"/{left}" in f"/{name}" for left in LEFT_OUT):
                continue
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = hashlib.sha256(content(path)).hexdigest()
    return found


def difference(expected, found):
    """Describes the difference of two digests in one line; empty if there is none."""
    parts = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            parts.append(f"{name} is missing")
        elif name not in expected:
            parts.append(f"{name} is left behind")
        elif expected[name] != found[name]:
            parts.append(f"{name} differs")
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return ", ".join(parts[:3]) + more


def checkpoints(place, outputs):
    """SHA-256 of each file of each checkpoint, by its place."""
    found = {}
    for output in outputs:
        for folder in sorted((place / output).glob("**/step-*")):
            if folder.is_dir() and not folder.is_symlink():
                found[str(folder.relative_to(place))] = digest(folder.parent, (folder.name,))
    return found


def broken(place, outputs, every):
    """The first checkpoint that is not one of `every` (those that an undisturbed run goes through), and why."""
    for name, files in checkpoints(place, outputs).items():
        if name not in every:
            return f"{name} is not a checkpoint of the undisturbed run"
        unlike = difference(every[name], files)
        if unlike:
            return f"checkpoint {name}: {unlike}"
    for output in outputs:
        for link in ("best", "latest"):
            path = place / output / link
            if path.is_symlink() and not path.exists():
                return f"{output}/{link} points to {path.readlink()}, which is not there"
    return ""


def unclear(ended):
    """Why a failure is not told as it should be; empty where it is."""
    if ended.code is None:
        return "hangs"
    if "panicked" in ended.told:
        return f"panics: {first_line(ended.told, 'panicked')}"
    if ended.code < 0:
        return f"dies of signal {-ended.code}"
    if ended.code not in (1, 2, 3, 130):
        return f"ends with {ended.code}"
    if ended.code in (1, 2) and not re.search(r"^error: .*`[^`]+`", ended.told, re.MULTILINE):
        return f"names no file in its message: {first_line(ended.told, '') or 'none'}"
    return ""


def first_line(text, part):
    return next((line for line in text.splitlines() if part in line), "")[:200]
