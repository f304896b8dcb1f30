"""Our decisions on tasks against lm-evaluation-harness's, item by item. Run by scripts/check/tasks.sh."""

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

ITEMS = 200
CHOICES = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: context
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
# The harness puts its delimiter before choices only.
CLOZE = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: context
doc_to_target: "{{{{' ' + choices[0]}}}}"
metric_list: [{{metric: acc}}]
"""


def write_tasks(folder):
    """Items out of the documentation: right choices follow their contexts there, wrong ones follow others."""
    words = " ".join(path.read_text() for path in [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]).split()
    draw = random.Random(0)

    def item(length, answers, number):
        at = draw.randrange(length, len(words) - 8)
        taken = draw.randrange(1, 5)
        choices = [" ".join(words[at:at + taken])]
        while len(choices) < answers:
            other = draw.randrange(len(words) - 8)
            choices.append(" ".join(words[other:other + draw.randrange(1, 7)]))
        answer = draw.randrange(answers)
        choices[0], choices[answer] = choices[answer], choices[0]
        context = " ".join(words[at - length:at])
        # White space at the end, none before, letters outside of ASCII: what tokenizers stumble over.
        context += ["", "", " ", "\n", " naïve “–”"][number % 5]
        return {"context": context, "choices": choices, "answer": answer}

    # Some contexts are longer than what the model reads.
    lengths = [6, 12, 25, 120]
    tasks = {
        "choices": [item(lengths[number % 4], 4, number) for number in range(ITEMS)],
        "pairs": [item(lengths[number % 4], 2, number) for number in range(ITEMS)],
        "cloze": [item(lengths[number % 4], 1, 0) for number in range(ITEMS)],
    }
    for name, items in tasks.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        form = CLOZE if name == "cloze" else CHOICES
        (folder / f"{name}.yaml").write_text(form.format(name=name, path=(folder / f"{name}.jsonl").resolve()))
    return list(tasks)


def main():
    polymath, checkpoint, scratch = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    folder = scratch / "tasks"
    folder.mkdir(exist_ok=True)
    names = write_tasks(folder)
    decided = scratch / "items.jsonl"
    subprocess.run([polymath, "--quiet", "evaluate", checkpoint, "--tasks", folder, "--items", decided], check=True)
    ours = {name: [] for name in names}
    for line in decided.read_text().splitlines():
        item = json.loads(line)
        ours[item["task"]].append(item)

    logging.disable(logging.WARNING)
    theirs = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": checkpoint, "dtype": "float32"}, tasks=names, device="cpu", batch_size=8,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False), log_samples=True, bootstrap_iters=0,
    )  # fmt: skip
    print(f"{'task':10} {'items':>6} {'acc':>16} {'acc_norm':>16} {'decisions differ':>17} {'largest difference':>19}")
    failed = False
    for name in names:
        samples = sorted(theirs["samples"][name], key=lambda sample: sample["doc_id"])
        assert len(samples) == len(ours[name]) == ITEMS
        differ, largest, shares = 0, 0.0, {"acc": [0, 0], "acc_norm": [0, 0]}
        for sample, item in zip(samples, ours[name]):
            likelihoods = [float(response[0][0]) for response in sample["resps"]]
            greedy = [str(response[0][1]) == "True" for response in sample["resps"]]
            largest = max(largest, *(abs(a - b) for a, b in zip(likelihoods, item["log_likelihoods"], strict=True)))
            pairs = [(sample["acc"], item["right"], "acc")]
            if "acc_norm" in sample:
                pairs.append((sample["acc_norm"], item["right_normalized"], "acc_norm"))
            same = greedy == item["greedy"]
            for their, our, measure in pairs:
                same &= bool(their) == our
                shares[measure][0] += bool(their)
                shares[measure][1] += our
            differ += not same
        failed |= differ > 0
        shown = {measure: f"{a / ITEMS:.3f} = {b / ITEMS:.3f}" for measure, (a, b) in shares.items()}
        if name == "cloze":
            shown["acc_norm"] = "–"
        print(f"{name:10} {ITEMS:6} {shown['acc']:>16} {shown['acc_norm']:>16} {differ:17} {largest:19.2e}")
    sys.exit(failed)


main()
