"""Generation against `transformers`, and `prepare` against the `tokenizers` batch encoder: alternating, medians.

Run by compare_inference.sh, which makes the environment.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "The theorem"
SHORT, LONG = 16, 216  # tokens: the difference leaves out the start of the process, and the prompt


def wall(command, **environment):
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return time.perf_counter() - begin


class Transformers:
    """The checkpoint in `transformers`, loaded once."""

    def __init__(self, checkpoint, threads):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        ids = [self.model.config.bos_token_id, *tokenizer.encode(PROMPT, add_special_tokens=False)]
        self.prompt = torch.tensor([ids])

    def seconds(self, tokens):
        begin = time.perf_counter()
        output = self.model.generate(self.prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
                                     attention_mask=self.prompt * 0 + 1, pad_token_id=0)
        assert output.shape[1] - self.prompt.shape[1] == tokens
        return time.perf_counter() - begin


def generation(arguments):
    theirs = Transformers(arguments.checkpoint, arguments.threads)

    def ours(tokens):
        command = [arguments.program, "generate", arguments.checkpoint, "--raw", "--prompt", PROMPT, "--temperature", "0",
                   "--max-tokens", str(tokens), "--threads", str(arguments.threads)]
        return wall(command)

    rates = {"polymath": [], "transformers": []}
    theirs.seconds(SHORT)
    for _ in range(arguments.rounds):
        for name, seconds in [("polymath", ours), ("transformers", theirs.seconds)]:
            long, short = seconds(LONG), seconds(SHORT)
            rates[name].append((LONG - SHORT) / (long - short))
    return rates


ENCODE = """
import gzip, json, sys
from array import array
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
with open(sys.argv[2], "wb") as output:
    for path in sys.argv[3:]:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        for at in range(0, len(texts), 1000):
            for encoded in tokenizer.encode_batch_fast(texts[at:at + 1000], add_special_tokens=False):
                array("H", encoded.ids).tofile(output)
"""


def preparation(arguments):
    dataset = Path(arguments.dataset)
    domains = json.loads((dataset / "dataset.json").read_text())["domains"]
    files = [str(path) for name in domains for path in sorted(Path("data/raw", name).glob("*.jsonl.gz"))]
    if not files:
        sys.exit(f"no data/raw/<domain>/*.jsonl.gz for the domains of {dataset}: run scripts/corpora.sh")
    size = 0
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            size += sum(len(json.loads(line)["text"].encode()) for line in lines)
    rates = {"polymath": [], "tokenizers": []}
    with tempfile.TemporaryDirectory(dir="target") as scratch:
        config = Path(scratch, "prepare.toml")
        lines = [f'output = "{scratch}/data"', "[tokenizer]", f'path = "{dataset}/tokenizer.json"']
        for name in domains:
            lines += [f"[domains.{name}]", f'paths = ["data/raw/{name}/*.jsonl.gz"]', 'text_field = "text"']
        config.write_text("\n".join(lines) + "\n")
        ours = [arguments.program, "--threads", str(arguments.threads), "prepare", config]
        theirs = [sys.executable, "-c", ENCODE, dataset / "tokenizer.json", f"{scratch}/tokens.bin", *files]
        for _ in range(arguments.rounds):
            shutil.rmtree(f"{scratch}/data", ignore_errors=True)  # what is prepared already is not prepared again
            rates["polymath"].append(size / wall(ours) / 1e6)
            threads = {"RAYON_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": "true"}
            rates["tokenizers"].append(size / wall(theirs, **threads) / 1e6)
    return rates


def report(title, unit, rates):
    (_, ours), (name, theirs) = rates.items()
    ratios = [mine / other for mine, other in zip(ours, theirs)]
    print(f"{title}: polymath {statistics.median(ours):.1f} {unit}, {name} {statistics.median(theirs):.1f}: "
          f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the polymath command")
    parser.add_argument("--checkpoint", default="checkpoints/small/best")
    parser.add_argument("--dataset", default="data/real")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    report("generation", "tokens/s", generation(arguments))
    report("prepare", "MB/s", preparation(arguments))


if __name__ == "__main__":
    main()
