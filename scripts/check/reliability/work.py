"""The text, configs and commands that are attacked, and how a command is run."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

# A command that takes longer hangs: each takes a few seconds.
TIME_LIMIT = 120


@dataclass(frozen=True)
class Subject:
    """A command that writes, and what it writes."""

    name: str
    arguments: tuple
    outputs: tuple
    # True if the command trains: its folder holds checkpoints, and `--resume` continues.
    trains: bool = False
    # True if the same command continues where it was, as sweeps do.
    goes_on: bool = False

    def again(self):
        """The arguments that go on after a failure."""
        return self.arguments + (("--resume",) if self.trains else ())


@dataclass
class Ended:
    """End of a command: its exit code (negative: a signal; None: it hung), and its output."""

    code: int | None
    told: str


def finetuning(name, *settings):
    arguments = ("finetune", "finetune.toml", f"run=run-{name}", *settings)
    return Subject(f"finetune {name}", arguments, (f"run-{name}", f"run-{name}.replay"), trains=True)


PRETRAININGS = [
    Subject("pretrain", ("pretrain", "pretrain.toml", "run=run"), ("run",), trains=True),
    Subject("pretrain muon", ("pretrain", "pretrain.toml", "run=run", "training.optimizer=muon"), ("run",), trains=True),
    Subject(
        "pretrain bf16",
        ("pretrain", "pretrain.toml", "run=run", "training.precision=bf16", "training.accumulation_steps=2"),
        ("run",),
        trains=True,
    ),
]
FINETUNINGS = [
    finetuning("full"),
    finetuning("frozen", "method=frozen", "frozen.train_last_layers=1"),
    finetuning("lora", "method=lora", "lora.rank=4", "lora.dropout=0.1"),
    finetuning("dora", "method=dora", "lora.rank=2"),
    finetuning("replay", "retention.replay=0.25"),
    finetuning("replay-self", 'retention.replay={source="self",share=0.25,tokens=300}'),
    finetuning("ewc", "retention.ewc={strength=10.0,tokens=400}"),
    finetuning("l2sp", "retention.l2sp=0.01"),
    finetuning("distill", "retention.replay=0.25", "retention.distill={strength=1.0}"),
    finetuning("limits", "retention.limits.default=0.05", "evaluation.max_tokens=20000"),
    finetuning("new-tokens", 'tokenizer.add=["⟨qed⟩"]'),
]
SWEEPS = [
    Subject("frontier", ("frontier", "frontier.toml"), ("frontier",), goes_on=True),
    Subject("transfer", ("transfer", "transfer.toml"), ("transfer",), goes_on=True),
]
MAKERS = [
    Subject("prepare", ("prepare", "prepare.toml", "output=made"), ("made",)),
    Subject("prepare chat", ("prepare", "chat.toml", "output=made"), ("made",)),
    Subject("merge", ("merge", "adapter", "-o", "made"), ("made",)),
    Subject("revert", ("revert", "base", "tuned", "-o", "made"), ("made",)),
    Subject("interpolate", ("interpolate", "base", "tuned", "-o", "made"), ("made",)),
    Subject("forget", ("forget", "base", "tuned", "-o", "made"), ("made",)),
    Subject("export gguf", ("export", "base", "--gguf", "made.gguf"), ("made.gguf",)),
    Subject("export card", ("export", "base", "--card", "made.md"), ("made.md",)),
    Subject("import", ("import", "base.gguf", "-o", "made"), ("made",)),
    Subject("evaluate items", ("evaluate", "base", "--tasks", "task.jsonl", "--items", "made.jsonl"), ("made.jsonl",)),
]

PREPARE = """output = "{output}"
heldout_fraction = 0.15
[tokenizer]
{tokenizer}
"""
PRETRAIN = """dataset = "data"
run = "base"
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
[training]
steps = 12
batch_size = 2
sequence_length = 32
learning_rate = 1e-2
[evaluation]
every = 4
max_tokens = 300
[checkpoint]
every = 2
keep = 2
"""
FINETUNE = """base = "base"
dataset = "niche"
retain = "data"
run = "run"
[training]
steps = 12
batch_size = 2
sequence_length = 32
learning_rate = 1e-2
[evaluation]
every = 4
max_tokens = 300
[checkpoint]
every = 2
keep = 2
"""
FRONTIER = """output = "frontier"
seeds = [1]
[shared]
base = "base"
dataset = "niche"
retain = "data"
[shared.training]
steps = 4
batch_size = 2
sequence_length = 32
[shared.evaluation]
every = 2
max_tokens = 300
[runs.full]
method = "full"
[runs.lora]
method = "lora"
lora = { rank = 2, alpha = 4 }
"""
TRANSFER = """output = "transfer"
datasets = ["data"]
seeds = [1]
max_tokens = 500
[shared]
base = "base"
[shared.training]
steps = 4
batch_size = 2
sequence_length = 32
[shared.evaluation]
every = 2
max_tokens = 300
"""


@dataclass
class Work:
    """A folder for everything, the program that is attacked, and the numbers that decide how."""

    root: Path
    program: Path
    seed: int
    jobs: int
    # The one trial that is asked for, by its name.
    only: str | None = None
    references: dict = field(default_factory=dict)
    locks: dict = field(default_factory=lambda: {None: threading.Lock()})

    def once(self, key, make):
        """Result of `make`, which the first trial that needs it calls."""
        with self.locks[None]:
            lock = self.locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self.references:
                self.references[key] = make()
            return self.references[key]

    @property
    def fixture(self):
        return self.root / "fixture"

    def trial(self, name):
        """A copy of the fixture for one attack."""
        place = self.root / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.fixture, place, symlinks=True)
        return place

    def command(self, arguments):
        return [str(self.program), "--device", "cpu", "--threads", "1", "--quiet", *arguments]

    def start(self, place, arguments, before=()):
        """Starts the program in `place`, after the command `before` where there is one."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RUST_", "HF_"))}
        environment["HF_HUB_OFFLINE"] = "1"
        return subprocess.Popen(
            [*before, *self.command(arguments)],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self, place, arguments, before=()):
        """Runs it to its end."""
        return finish(self.start(place, arguments, before))


def prepare_process():
    """Sets what commands inherit: they leave no core files, and no signal is ignored from their start."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def finish(process):
    """Waits for the end of a process, and of all that it started."""
    try:
        _, told = process.communicate(timeout=TIME_LIMIT)
        return Ended(process.returncode, told)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, told = process.communicate()
        return Ended(None, told)


def documents(random_state, syllables, count, lengths=(12, 40)):
    """Texts of made-up words, each domain with its own."""
    words = ["".join(random_state.choices(syllables, k=random_state.randint(1, 3))) for _ in range(120)]
    for _ in range(count):
        length = random_state.randint(*lengths)
        yield " ".join(words[min(int(random_state.expovariate(0.05)), 119)] for _ in range(length)) + "."


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def make_fixture(work):
    """Writes text and configs, and makes what the commands start from: data, a base, a tuned model, an adapter."""
    random_state = random.Random(work.seed)
    place = work.fixture
    (place / "text").mkdir(parents=True)
    one = [a + b for a in "bdfgklm" for b in "aeiou"]
    two = [a + b for a in "prstvxz" for b in "aeiou"]
    for name, syllables in (("law", one), ("math", two)):
        write_lines(place / f"text/{name}.jsonl", ({"text": text} for text in documents(random_state, syllables, 160)))
    # A prompt and its response fit a row.
    questions, answers = (documents(random_state, part, 120, (3, 5)) for part in (one, two))
    write_lines(
        place / "text/chat.jsonl",
        ({"prompt": question, "response": answer} for question, answer in zip(questions, answers)),
    )
    choices = ["ba ba", "xo", "zu"]
    write_lines(
        place / "task.jsonl", ({"context": "ba", "choices": choices, "answer": number % 3} for number in range(6))
    )
    domains = "".join(f'[domains.{name}]\npaths = ["text/{name}.jsonl"]\n' for name in ("law", "math"))
    (place / "prepare.toml").write_text(PREPARE.format(output="data", tokenizer="vocab_size = 300") + domains)
    given = PREPARE.format(output="niche", tokenizer='path = "data/tokenizer.json"')
    (place / "chat.toml").write_text(given + '[domains.chat]\npaths = ["text/chat.jsonl"]\n')
    (place / "pretrain.toml").write_text(PRETRAIN)
    (place / "finetune.toml").write_text(FINETUNE)
    (place / "frontier.toml").write_text(FRONTIER)
    (place / "transfer.toml").write_text(TRANSFER)
    for arguments in (
        ("prepare", "prepare.toml"),
        ("prepare", "chat.toml"),
        ("pretrain", "pretrain.toml"),
        ("finetune", "finetune.toml", "run=tuned"),
        ("finetune", "finetune.toml", "run=adapter", "method=lora"),
        ("export", "base", "--gguf", "base.gguf"),
    ):
        ended = work.run(place, arguments)
        if ended.code != 0:
            raise SystemExit(f"the fixture can't be made: {' '.join(arguments)}: exit {ended.code}: {ended.told}")
