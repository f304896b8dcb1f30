"""Fine-tunes the imported model on each niche by each method, scores every run once, and prints the tables. Run by
real_model.sh. Finished runs and reports are kept, so that it can be stopped and started at will."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from limits_trials import RESULTS, is_done, parse

DATA = Path("data/real-model/datasets")
# Settings of `--limits` where no text is retained, with less generated text than the default for so short a run.
GENERATED = ["retention.replay.source=self", "retention.replay.share=0.333", "retention.replay.beside=true",
             "retention.replay.temperature=1", "retention.replay.tokens=8_000", "retention.distill.strength=16",
             "retention.distill.temperature=1"]  # fmt: skip
# Arguments that each method adds to configs/finetune/real-model.toml.
METHODS = {
    "full": [],
    "lora": ["method=lora"],
    "limits-old-text": [f"retain={DATA}/old", "--limits", "0.02"],
    "limits": ["--limits", "0.02", *GENERATED],
    "self": GENERATED,
}
NAMES = {
    "full": "full",
    "lora": "LoRA, rank 16",
    "limits-old-text": "limits 0.02, retained text",
    "limits": "limits 0.02, generated text",
    "self": "the same replay and distillation of generated text, without limits",
}


def measured(command, record):
    """Runs a command, and adds its time to what `record` has of earlier calls."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run(command).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    past = json.loads(record.read_text()) if record.exists() else {"wall": 0, "processor": 0}
    past["wall"] += time.monotonic() - began
    past["processor"] += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record.write_text(json.dumps(past))
    if code not in RESULTS:
        sys.exit(f"`{' '.join(command)}` ended with {code}")


def share_generated_text(run):
    """Text that the base generated for another niche is taken over: the same seed and settings give the same text."""
    mine = run.with_name(run.name + ".replay")
    for other in sorted(run.parent.parent.glob(f"*/{mine.name}")):
        if not mine.exists() and (other / "dataset.json").exists():
            shutil.copytree(other, mine, copy_function=os.link)


def tune(arguments, niche, method, seed):
    run = arguments.out / niche / f"{method}-{seed}"
    if is_done(run, method.startswith("limits")):
        return run
    run.parent.mkdir(parents=True, exist_ok=True)
    if method in ("limits", "self"):
        share_generated_text(run)
    command = [arguments.program, "finetune", "configs/finetune/real-model.toml", f"dataset={DATA}/{niche}", f"run={run}",
               f"seed={seed}", *METHODS[method], *arguments.settings]  # fmt: skip
    if (run / "run.toml").exists():
        command.append("--resume")
    measured(command, run.with_name(run.name + ".time.json"))
    # Moments are for going on with a run; these are compared and done.
    for moments in run.glob("*/optimizer.safetensors"):
        if not moments.parent.is_symlink():
            moments.unlink()
    return run


def report(arguments, niche, run):
    """Returns the report of a run on the test split."""
    folder = run.with_name(f"{run.name}.report-{arguments.max_tokens or 'all'}")
    found = folder / "report.json"
    if not found.exists():
        best = run / "best" if (run / "best").exists() else run / "closest"
        command = [arguments.program, "report", arguments.base, str(best), "--niche", niche, "--split", "test", "-o", str(folder)]
        command += ["--tasks", "data/real-model/tasks"] if arguments.tasks else []
        command += ["--max-tokens", arguments.max_tokens] if arguments.max_tokens else []
        for dataset in (niche, "old", "unseen"):
            command += ["--dataset", str(DATA / dataset)]
        measured(command, run.with_name(run.name + ".report-time.json"))
    return json.loads(found.read_text())["runs"][0]


def row(arguments, niche, method, seed):
    run = tune(arguments, niche, method, seed)
    found = report(arguments, niche, run)
    retained = [domain for domain in found["domains"] if domain["role"] == "retained"]
    tasks = {task["task"]: task["acc"] for task in found.get("tasks", [])}
    return {
        "name": NAMES[method],
        "gain": found["summary"]["niche_gain"],
        "forgetting": found["summary"]["mean_forgetting"],
        "worst": max(retained, key=lambda domain: domain["change"]),
        "changes": {domain["name"]: domain["change"] for domain in retained},
        "verdicts": [domain["verdict"] for domain in retained],
        "limits": json.loads((run / "limits.json").read_text())["verdict"] if (run / "limits.json").exists() else "",
        "tasks": [before_and_after(tasks.get(name)) for name in ("instructions", "knowledge")],
        "time": json.loads(run.with_name(run.name + ".time.json").read_text()),
    }


def before_and_after(accuracy):
    return f"{accuracy['base']['value']:.0%} → {accuracy['tuned']['value']:.0%}" if accuracy else "–"


def span(figure):
    interval = figure.get("interval")
    return f"{figure['value']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def table(niche, seed, rows):
    print(f"\n{niche}, seed {seed}; bits per byte, test split\n")
    print("| method | gain | of full's | mean forgetting | of full's | worst domain | kept, undecided, forgotten | own limits "
          "| instructions | knowledge | seconds, processor seconds |")  # fmt: skip
    print("|---|--:|--:|--:|--:|---|---|---|--:|--:|--:|")
    full = rows[0]
    for one in rows:
        share = f"{one['gain']['value'] / full['gain']['value']:.0%}"
        part = f"{one['forgetting']['value'] / full['forgetting']['value']:.0%}"
        worst = f"{one['worst']['name']} {one['worst']['change']:+.3f}"
        kept = sum(one["verdicts"].count(verdict) for verdict in ("kept", "improved"))
        said = f"{kept}, {one['verdicts'].count('undecided')}, {one['verdicts'].count('forgotten')}"
        seconds = f"{one['time']['wall']:.0f}, {one['time']['processor']:.0f}"
        print(f"| {one['name']} | {span(one['gain'])} | {share} | {span(one['forgetting'])} | {part} | {worst} | {said} | {one['limits']} | "
              f"{one['tasks'][0]} | {one['tasks'][1]} | {seconds} |", flush=True)  # fmt: skip
    names = list(full["changes"])
    print(f"\n| change | {' | '.join(names)} |\n|---|{'--:|' * len(names)}")
    for one in rows:
        print(f"| {one['name']} | {' | '.join(format(one['changes'][name], '+.3f') for name in names)} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--niches", default="support,formal,recipes")
    parser.add_argument("--methods", default="full,lora,limits-old-text,limits")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--base", default="checkpoints/smollm2")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/real-model"))
    parser.add_argument("--max-tokens", help="held-out tokens of each domain that a report scores; default: all")
    parser.add_argument("--no-tasks", dest="tasks", action="store_false")
    arguments = parse(parser)
    methods = arguments.methods.split(",")
    unknown = [method for method in methods if method not in METHODS]
    if unknown or methods[0] != "full":
        sys.exit(f"--methods: expected `full` first, then others of {', '.join(METHODS)}")
    for niche in arguments.niches.split(","):
        for seed in arguments.seeds.split(","):
            table(niche, seed, [row(arguments, niche, method, seed) for method in methods])


main()
