"""Our checkpoints in `transformers` and `peft`: the same tokens, bits per byte and greedy text. Run by scripts/check/hf.sh."""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

DOCUMENTS, LENGTH = 24, 400


def polymath(arguments, *rest):
    command = [arguments.program, "--quiet", "--device", "cpu", *map(str, rest)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def documents(arguments):
    text = polymath(arguments, "dataset", "text", arguments.dataset, "--domain", arguments.domain)
    pieces = [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]
    return pieces[:: max(len(pieces) // DOCUMENTS, 1)][:DOCUMENTS]


def ours(arguments, folder, texts):
    """Bits per byte by `polymath evaluate` on a data set of just these documents."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for name, part in {"train": ["not used"], "heldout": texts}.items():
            lines = (json.dumps({"text": text}) + "\n" for text in part)
            (place / f"{name}.jsonl").write_text("".join(lines))
        (place / "prepare.toml").write_text(
            f'output = "{place}/data"\n[tokenizer]\npath = "{folder}/tokenizer.json"\n[domains.check]\n'
            f'paths = ["{place}/train.jsonl"]\nheldout_paths = ["{place}/heldout.jsonl"]\n'
        )
        polymath(arguments, "prepare", place / "prepare.toml")
        scores = polymath(arguments, "evaluate", folder, "--dataset", place / "data", "--json")
    return json.loads(scores)["domains"]["check"]["bits_per_byte"]


def theirs(model, tokenizer, texts):
    nats, end = 0.0, model.config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    for text in texts:
        ids = [model.config.bos_token_id, *tokenizer.encode(text, add_special_tokens=False), end]
        ids = torch.tensor([ids])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].double()
        nats -= logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum().item()
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def same_tokens(model, tokenizer, folder, texts):
    """The tokens of the texts, and of all added tokens among words, as the tokenizer's file says; a row for each of them."""
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = [token.content for _, token in sorted(own.get_added_tokens_decoder().items())]
    every = [*texts, "".join(f"a word{token}and another " for token in added)]
    equal = (
        tokenizer.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids for text in every
    )
    return all(equal) and own.get_vocab_size() <= model.get_input_embeddings().weight.shape[0]


def greedy(model, tokenizer, prompt):
    ids = [model.config.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
    made = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=40)
    return tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True)


def check(arguments, folder):
    folder = Path(folder)
    if (folder / "adapter_config.json").exists():
        from peft import PeftModel

        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = documents(arguments)
    mine, other = ours(arguments, folder, texts), theirs(model, tokenizer, texts)
    tokens = same_tokens(model, tokenizer, folder, texts)
    prompts = [text[:40] for text in texts[:3]]
    same = 0
    for prompt in prompts:
        made = polymath(arguments, "generate", folder, "--raw", "--prompt", prompt, "--temperature", 0, "--max-tokens", 40)
        same += made.removeprefix(prompt).strip() == greedy(model, tokenizer, prompt).strip()
    good = tokens and abs(mine - other) <= 1e-4 and same == len(prompts)
    name = "peft" if hasattr(model, "peft_config") else "transformers"
    print(
        f"{folder}  {name}: {mine:.6f} against {other:.6f} bits per byte, greedy text equal {same}/{len(prompts)}, "
        f"tokens {'equal' if tokens else 'DIFFERENT'}"
    )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("dataset")
    parser.add_argument("domain")
    parser.add_argument("checkpoints", nargs="+")
    arguments = parser.parse_args()
    raise SystemExit(0 if all([check(arguments, folder) for folder in arguments.checkpoints]) else 1)


main()
