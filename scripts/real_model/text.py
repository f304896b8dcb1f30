"""Makes the text of scripts/real_model.sh: niches as conversations, retained domains as short excerpts, and tasks.

    text.py OUTPUT

Reads data/raw (scripts/corpora.sh). The output depends on that alone: what is chosen, is chosen by a hash.
"""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import support
import tasks

EXCERPT = 400  # characters of an excerpt: about 100 tokens, so that twenty works are scored in a second or two
OLD = ("law", "manuals", "code", "politics")  # replayed by the run with old text
UNSEEN = ("literature", "encyclopedia", "mathematics", "biology")  # read by no run
WORKS = {"old": 240, "unseen": 52}
NICHE_DOCUMENTS = 1000
# Characters of a conversation: about 90 tokens, which with the template fit into a row of 160.
LONGEST = {"formal": 180, "recipes": 400}


def order(name):
    return hashlib.sha256(name.encode()).hexdigest()


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def excerpts(domain, works):
    """Returns one excerpt each of so many works: the beginning of a document, up to the end of a line or a word."""
    documents = {}
    for record in sorted(read(Path("data/raw", domain, "documents.jsonl.gz")), key=lambda record: order(record["text"])):
        documents.setdefault(record["work"], record["text"])
    for work in sorted(documents, key=order)[:works]:
        text = documents[work]
        if len(text) > EXCERPT:
            text = text[:EXCERPT]
            text = text[: max(text.rfind("\n"), text.rfind(" "), EXCERPT // 2)]
        yield {"text": text.rstrip(), "work": work}


def conversation(question, answer, work):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "work": work}


def formal():
    """Metamath's theorems: from the description and the hypotheses to the statement."""
    for record in read(Path("data/raw/formal/pairs/pairs.jsonl.gz")):
        yield conversation(record["prompt"], record["response"].strip(), record["work"])


def recipes():
    for record in read(Path("data/raw/recipes/documents.jsonl.gz")):
        title, _, recipe = record["text"].partition("\n")
        yield conversation(f"Please give me a recipe: {title}", recipe.strip(), record["work"])


def chosen(records, longest):
    short = [record for record in records if sum(len(message["content"]) for message in record["messages"]) <= longest]
    return sorted(short, key=lambda record: order(record["work"]))[:NICHE_DOCUMENTS]


def main():
    output = Path(sys.argv[1])
    for kind, domains in (("old", OLD), ("unseen", UNSEEN)):
        for domain in domains:
            write(output / kind / f"{domain}.jsonl", excerpts(domain, WORKS[kind]))
    write(output / "formal.jsonl", chosen(formal(), LONGEST["formal"]))
    write(output / "recipes.jsonl", chosen(recipes(), LONGEST["recipes"]))
    write(output / "support.jsonl", support.chats(NICHE_DOCUMENTS))
    for name, items in tasks.all_tasks().items():
        write(output / "tasks" / f"{name}.jsonl", items)


main()
