"""Runs under limits beside runs without, over niches and seeds. Run by limits_trials.sh."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = (0, 3, 4)  # kept, broken, undecided: the exit codes of a run that has a verdict


def prepare(arguments, niche):
    if not Path("data", niche, "dataset.json").exists():
        raw = Path("data/raw", niche)
        if not raw.exists():
            subprocess.run(["scripts/corpora.sh", niche], check=True)
        subprocess.run([arguments.program, "--quiet", "prepare", f"configs/prepare/{niche}.toml"], check=True)


def is_done(run, held):
    state = run / "latest" / "state.json"
    finished = state.exists() and json.loads(state.read_text())["finished"]
    return finished and (not held or (run / "limits.json").exists())


def tune(arguments, config, run, niche, seed):
    """Trains a run that is not finished, and has its limits judged."""
    held = config == "narrow-limits"
    if is_done(run, held):
        return
    command = [arguments.program, "--quiet", "finetune", f"configs/finetune/{config}.toml", f'run="{run}"', f'base="{arguments.base}"',
               f'dataset="data/{niche}"', f"seed={seed}", *arguments.settings]  # fmt: skip
    if run.exists():
        command.append("--resume")
    if held:
        command += ["--limits", arguments.limit]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code not in RESULTS:
        sys.exit(f"`{' '.join(command)}` ended with {code}")


def scores(arguments, checkpoint, niche):
    """Bits per byte of every domain on the test half, kept beside the run."""
    kept = arguments.out / f"{Path(checkpoint).name}-{niche}-scores.json"
    if not kept.exists():
        command = [arguments.program, "--quiet", "evaluate", str(checkpoint), "--dataset", "data/real", "--dataset", f"data/{niche}",
                   "--split", "test", "--context", "256", "--json"]  # fmt: skip
        kept.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: domain["bits_per_byte"] for name, domain in json.loads(kept.read_text())["domains"].items()}


def trial(arguments, niche, seed):
    free, held = arguments.out / f"{niche}-{seed}-free", arguments.out / f"{niche}-{seed}-held"
    tune(arguments, "narrow-full", free, niche, seed)
    tune(arguments, "narrow-limits", held, niche, seed)
    base, tuned = scores(arguments, arguments.base, niche), scores(arguments, free, niche)
    verdict = json.loads((held / "limits.json").read_text())
    old = [domain for domain in verdict["domains"] if "limit" in domain]
    worst = max(old, key=lambda domain: domain["change"] / domain["limit"])
    gains = base[niche] - tuned[niche], -verdict["domains"][0]["change"]
    if verdict.get("mixed"):
        shares = verdict["mixed"].values()
        how = f"mixed, {min(shares):.0%} to {max(shares):.0%}"
    else:
        how = "inside on the way" if verdict["inside_on_the_way"] else "closest"
    forgot = max(tuned[domain["domain"]] - base[domain["domain"]] for domain in old)
    return {"niche": niche, "seed": seed, "verdict": verdict["verdict"], "worst": worst, "gains": gains, "share": gains[1] / gains[0],
            "how": how, "forgot": forgot}  # fmt: skip


def parse(parser):
    """Parses the arguments of the program; those after `--` become `settings`."""
    # A positional argument of any number would be taken before the options, and then be empty.
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:end])
    arguments.settings = given[end + 1 :]
    return arguments


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--niches", default="formal:4,recipes:3,religion:3")
    parser.add_argument("--limit", default="0.02")
    parser.add_argument("--base", default="checkpoints/narrow/best")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/limits-trials"))
    arguments = parse(parser)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| niche | seed | limits | worst domain | gain | gain unrestricted, its worst domain | share of the gain | |")
    print("|---|--:|---|---|--:|--:|--:|---|")
    found = []
    for niche, seeds in (part.split(":") for part in arguments.niches.split(",")):
        prepare(arguments, niche)
        for seed in range(1, int(seeds) + 1):
            one = trial(arguments, niche, seed)
            found.append(one)
            print(f"| {niche} | {seed} | {one['verdict']} | {one['worst']['domain']} {one['worst']['change']:+.4f} | {one['gains'][1]:.3f} | "
                  f"{one['gains'][0]:.3f}, {one['forgot']:+.3f} | {one['share']:.0%} | {one['how']} |", flush=True)  # fmt: skip
    verdicts = [one["verdict"] for one in found]
    said = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("kept", "undecided", "broken"))
    shares = [one["share"] for one in found]
    print(f"\nof {len(found)}: {said}; share of the gain {statistics.mean(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})")


if __name__ == "__main__":
    main()
