"""Starts at the same time: one does the work, the others say why they don't, and the result is whole."""

import random
import re
import time

import kills
import observe
import work as works

REASONS = re.compile(r"in use|another process|already|is finished|was interrupted|holds files")


def attack(work, subject, name, random_state):
    """One trial of two to five starts within some milliseconds."""
    expected, code, _ = kills.reference(work, subject)
    place = work.trial(name)
    processes = []
    for _ in range(random_state.randint(2, 5)):
        processes.append(work.start(place, subject.again()))
        time.sleep(random_state.choice([0, 0, 0.01, 0.05, 0.2]))
    ended = [works.finish(process) for process in processes]
    found = observe.digest(place, subject.outputs)
    return judge(ended, code, observe.difference(expected, found))


def judge(ended, code, unlike):
    """Describes the fault in the ends of several starts; `unlike` is the difference of their result."""
    if all(one.code != code for one in ended):
        return f"none of {len(ended)} starts ends well: {observe.first_line(ended[0].told, '')}"
    for one in ended:
        if one.code == code:
            continue
        if observe.unclear(one):
            return observe.unclear(one)
        if not REASONS.search(one.told):
            return f"gives another reason: {observe.first_line(one.told, '')}"
    return unlike


def trials(work, count):
    subjects = works.PRETRAININGS[:1] + works.FINETUNINGS[:3] + works.MAKERS[:3] + works.SWEEPS[:1]
    for number in range(count):
        subject = subjects[number % len(subjects)]
        name = f"start-{number}"
        random_state = random.Random(f"{work.seed} {name}")
        yield subject.name, name, name, lambda s=subject, n=name, r=random_state: attack(work, s, n, r)
