#!/usr/bin/env python3
"""Measures the audit set on a model folder of `transformers`: bits per byte by domain, accuracy on the choices, format checks, refusals.

    scripts/check/audit-set.py MODEL [--documents N] [--tokens N] [--only text|choices|answers] [--program FILE]

Needs torch and transformers. Answers are greedy, in the model's chat template, of at most --tokens tokens. Prints first what
needs no model: distinct sequences of eight words, and the size under xz. Fails if a document of the domain `code` is not valid Python.
"""

import argparse
import json
import lzma
import math
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def example(program, *arguments):
    command = [program] if program else ["cargo", "run", "--quiet", "--workspace", "--example", "audit_set", "--"]
    subprocess.run([*command, *map(str, arguments)], cwd=ROOT, check=True)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(folder):
    return {path.parent.name: [line["text"] for line in lines(path)] for path in sorted(folder.glob("*/documents.jsonl"))}


def measure_text(domains):
    for number, document in enumerate(domains["code"], 1):
        compile(document, f"code document {number}", "exec")
    print("domain         documents    bytes   median  distinct 8-word sequences  xz, bits per byte")
    for name, documents in domains.items():
        sequences = []
        for document in documents:
            words = document.split()
            sequences += [tuple(words[at : at + 8]) for at in range(len(words) - 7)]
        text = "".join(documents).encode()
        sizes = sorted(len(document.encode()) for document in documents)
        share = len(set(sequences)) / len(sequences)
        packed = 8 * len(lzma.compress(text, preset=9)) / len(text)
        print(f"{name:14} {len(documents):9} {len(text):8} {sizes[len(sizes) // 2]:8} {share:26.3f} {packed:18.2f}")


class Model:
    def __init__(self, folder):
        import torch
        import transformers

        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def nats(self, given, text):
        """-ln p of a text after a given one; the tokens of both are those of the whole."""
        torch = self.torch
        encode = lambda part: self.tokenizer(part, add_special_tokens=False).input_ids
        begin = [self.tokenizer.bos_token_id or self.tokenizer.eos_token_id]
        before, whole = begin + encode(given), begin + encode(given + text)
        with torch.no_grad():
            logits = self.model(torch.tensor([whole])).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(whole[1:]), reduction="none")
        return losses[len(before) - 1 :].sum().item()

    def answers(self, prompts, tokens, rows=24):
        """Greedy answers to prompts, in the chat template."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        found = [""] * len(prompts)
        for begin in range(0, len(order), rows):
            some = order[begin : begin + rows]
            asked = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompts[at]}], tokenize=False, add_generation_prompt=True
                )
                for at in some
            ]
            batch = self.tokenizer(asked, return_tensors="pt", padding=True, add_special_tokens=False)
            made = self.model.generate(
                **batch, max_new_tokens=tokens, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
            )
            cut = made[:, batch.input_ids.shape[1] :]
            for at, answer in zip(some, self.tokenizer.batch_decode(cut, skip_special_tokens=True)):
                found[at] = answer
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--program", help="built example `audit_set`; without it, cargo builds it")
    parser.add_argument("--only", choices=["text", "choices", "answers"])
    arguments = parser.parse_args()
    wants = lambda part: arguments.only in (None, part)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        example(arguments.program, "write", folder)
        domains = texts(folder)
        measure_text(domains)
        model = Model(arguments.model)
        if wants("text"):
            for name, documents in domains.items():
                some = documents[: arguments.documents]
                bits = sum(model.nats("", document) for document in some) / math.log(2)
                print(f"{name:14} {bits / sum(len(document.encode()) for document in some):.3f} bits per byte", flush=True)
        if wants("choices"):
            right = 0
            items = lines(folder / "choices.jsonl")
            for item in items:
                costs = [model.nats(item["context"], " " + choice) for choice in item["choices"]]
                right += costs.index(min(costs)) == item["answer"]
            print(f"choices        {right} of {len(items)} right", flush=True)
        if wants("answers"):
            asked = lines(folder / "prompts.jsonl")
            answers = model.answers([one["prompt"] for one in asked], arguments.tokens)
            written = "".join(
                json.dumps({"id": one["id"], "answer": answer}) + "\n" for one, answer in zip(asked, answers)
            )
            (folder / "answers.jsonl").write_text(written)
            example(arguments.program, "check", folder / "answers.jsonl")


if __name__ == "__main__":
    main()
