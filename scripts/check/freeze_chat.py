"""Writes crates/data/tests/apply_chat_template.json: conversations, templates and tokenizers of our own with the tokens and
marks that `transformers` gives them. Run by `scripts/check/chat.sh --freeze`."""

import json
import re
import sys

from transformers import PreTrainedTokenizerFast

from chat_tokenizers import KINDS
from check_chat import OWN, SPECIAL, TALKS, expected

special = sorted({token for template in OWN.values() for token in re.findall(SPECIAL, template)})
frozen = {"templates": OWN, "talks": TALKS, "tokenizers": {}, "expected": {}}
for kind, make in KINDS.items():
    tokenizer = make()
    tokenizer.add_special_tokens(["<bos>", "<eos>", *special])
    frozen["tokenizers"][kind] = json.loads(tokenizer.to_str())
    frozen["expected"][kind] = {}
    for name, template in OWN.items():
        theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
        theirs.chat_template = template
        found = [expected(theirs, template, talk) for talk in TALKS]
        frozen["expected"][kind][name] = [{"tokens": ids, "scored": [int(mark) for mark in marks]} for ids, marks in found]
with open(sys.argv[1], "w") as file:
    json.dump(frozen, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
