"""Random kills: a run that is killed again and again, and then resumed, ends in the bits of one that was left alone."""

import random
import signal
import subprocess
import time

import observe
import work as works

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL, signal.SIGABRT]
MOST_KILLS = 3


def reference(work, subject):
    """Files, exit code and seconds of the undisturbed command; made once."""

    def make():
        place = work.trial(f"whole-{subject.name.replace(' ', '-')}")
        begin = time.monotonic()
        ended = work.run(place, subject.arguments)
        if ended.code not in (0, 3, 4):
            raise RuntimeError(f"{subject.name} fails undisturbed: exit {ended.code}: {ended.told}")
        return observe.digest(place, subject.outputs), ended.code, time.monotonic() - begin

    return work.once(("whole", subject.name), make)


def kill(process, number, wait):
    """Sends a signal after some seconds, unless the process has ended before."""
    try:
        process.wait(timeout=wait)
    except subprocess.TimeoutExpired:
        process.send_signal(number)


def attack(work, subject, name, random_state):
    """One trial; what is wrong with its end, or nothing."""
    expected, code, seconds = reference(work, subject)
    place = work.trial(name)
    plan = []
    for number in range(random_state.randint(1, MOST_KILLS)):
        chosen = random_state.choice(SIGNALS)
        wait = random_state.uniform(0, seconds * 1.05)
        plan.append(f"{chosen.name} after {wait:.3f} s")
        process = work.start(place, subject.arguments if number == 0 else subject.again())
        kill(process, chosen, wait)
        ended = works.finish(process)
        if ended.code not in (0, code, 130, -chosen):
            return f"{'; '.join(plan)}: exit {ended.code}: {observe.first_line(ended.told, '')}"
    ended = work.run(place, subject.again())
    if ended.code != code:
        return f"{'; '.join(plan)}: going on ends with {ended.code}: {observe.first_line(ended.told, '')}"
    unlike = observe.difference(expected, observe.digest(place, subject.outputs))
    return f"{'; '.join(plan)}: {unlike}" if unlike else ""


def trials(work, count):
    """Each subject in turn, with a random plan that depends on the seed and its number alone."""
    subjects = works.PRETRAININGS + works.FINETUNINGS + works.SWEEPS
    for number in range(count):
        subject = subjects[number % len(subjects)]
        name = f"kill-{number}"
        random_state = random.Random(f"{work.seed} {name}")
        yield subject.name, name, name, lambda s=subject, n=name, r=random_state: attack(work, s, n, r)
