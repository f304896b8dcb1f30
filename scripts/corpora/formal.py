"""Theorems of Metamath's `set.mm`: what each says in English, its hypotheses, and the formal statement. No proofs.

A document is a theorem, an axiom or a definition. `pairs/pairs.jsonl.gz` has the same in the same order as prompt and
response: prompt + response is the document. Dropped are a statement that came before (other proofs of it, obsolete
versions), and the lemmas of a family after its first ones: they repeat the same ten hypotheses, and a third of the
held-out text would stand in the training text too.
"""

import re
import sys
from pathlib import Path

from documents import NEAR_DUPLICATE, Seen, clean, main, write

STATEMENT = re.compile(r"\$\(\s(?P<comment>.*?)\s\$\)|(?P<open>\$\{)|(?P<close>\$\})|"
                       r"(?P<label>\S+)\s+\$(?P<kind>[eap])\s(?P<formula>.*?)\s\$(?:\.|=.*?\$\.)", re.DOTALL)
CREDITS = re.compile(r"\((?:Contributed|Revised|Proof (?:shortened|revised|modification|suggested)|"
                     r"Unnecessary distinct|New usage|Variation of a theorem)\b"
                     r"[^()]*(?:\([^()]*\)[^()]*)*\)")
OBSOLETE = re.compile(r"(OLD|OBS)\w*$|^(Obsolete|Old) ")
HIDDEN = "\0"
LONGEST = 6_000  # characters; the few longer ones are explanations of a notation, or monsters


def description(comment):
    """Metamath's mark-up to plain text: `` ` formula ` ``, `~ label`, `_italics_`, and who wrote it when."""
    parts = comment.replace("``", HIDDEN).split("`")
    for at in range(0, len(parts), 2):  # outside formulas
        text = CREDITS.sub("", parts[at])
        text = re.sub(r"</?[A-Za-z][^<>]*>", "", text)
        text = re.sub(r"~\s+(\S+)", r"\1", text)
        parts[at] = re.sub(r"(?<!\w)_([^_\s][^_]*)_(?!\w)", r"\1", text)
    text = CREDITS.sub("", " ".join(" ".join(parts).split())).replace(HIDDEN, "`")
    return re.sub(r"\s+([,.;:?!)](?:\s|$))", r"\1", re.sub(r"\s+", " ", text)).strip()


def theorems(database):
    """Label, prompt and response of each statement; hypotheses hold to the end of the block that they stand in."""
    scopes, comment, seen = [[]], "", set()
    for found in STATEMENT.finditer(database):
        if found["comment"]:
            comment = found["comment"]
        elif found["open"]:
            scopes.append([])
        elif found["close"]:
            scopes.pop()
        else:
            formula = " ".join(re.sub(r"\$\(.*?\$\)", " ", found["formula"], flags=re.DOTALL).split())
            if found["kind"] == "e":
                scopes[-1].append(formula)
                continue
            text, label = description(comment), found["label"]
            comment = ""
            hypotheses = tuple(hypothesis for scope in scopes for hypothesis in scope)
            if not formula.startswith("|- ") or len(text) < 20 or OBSOLETE.search(label) or OBSOLETE.search(text):
                continue
            if (hypotheses, formula) not in seen and len(formula) + sum(map(len, hypotheses)) + len(text) < LONGEST:
                seen.add((hypotheses, formula))
                kinds = {"df-": "Definition", "ax-": "Axiom"} if found["kind"] == "a" else {}
                kind = kinds.get(label[:3], "Theorem")
                given = "".join(f"Hypothesis: {hypothesis}\n" for hypothesis in hypotheses)
                yield label, clean(f"{text}\n{given}{kind} {label}:"), " " + formula


if __name__ == "__main__":
    databases = Path(sys.argv[2]) / "usr/share/metamath/databases"
    seen = Seen()
    statements = theorems((databases / "set.mm").read_text("utf-8"))
    pairs = [pair for pair in statements if seen.share("".join(pair[1:])) <= NEAR_DUPLICATE]
    main(lambda _: ((label, prompt + response) for label, prompt, response in pairs), near_duplicates=1, smallest=0)
    records = [{"prompt": prompt, "response": response, "work": label} for label, prompt, response in pairs]
    write(Path(sys.argv[1]) / "pairs/pairs.jsonl.gz", records)
