"""Substances from `chemicals`: names, formula, molar mass, SMILES and InChI of each, as a short record.

Of 71,000, an evenly spread share is taken, chosen by a hash. Left out are the registry numbers and keys, which are
hashes or arbitrary digits that no text foretells, and records whose structure (SMILES) came before.
"""

import hashlib
import re

from documents import main, size

WANTED = 10_000_000  # bytes
NAMES = 4
REGISTRY_NUMBER = re.compile(r"^\d+-\d+-\d+$|\d{5,}|^[a-z]{2,}[- ]?\d{3,}$|^[A-Z]{14}-", re.IGNORECASE)


def record(fields):
    _id, _registry, formula, mass, smiles, inchi, _key, systematic, *names = fields
    lines = [f"Name: {systematic or names[0]}"]
    others = [name for name in dict.fromkeys(names) if name and name != systematic and not REGISTRY_NUMBER.search(name)]
    if others:
        lines.append("Also called: " + "; ".join(others[:NAMES]))
    lines += [f"Formula: {formula}", f"Molar mass: {float(mass):.3f} g/mol", f"SMILES: {smiles}", f"InChI: {inchi}"]
    return "\n".join(lines)


def documents(chemicals):
    table = chemicals / "chemicals/Identifiers/chemical identifiers pubchem large.tsv"
    structures, records = set(), []
    for line in table.read_text("utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) < 9 or not fields[4] or fields[4] in structures:
            continue
        structures.add(fields[4])
        records.append((hashlib.sha256(fields[0].encode()).digest(), int(fields[0]), record(fields)))
    chosen, total = [], 0
    for _hash, number, text in sorted(records):
        if total > WANTED:
            break
        chosen.append((number, text))
        total += size(text)
    return ((str(number), text) for number, text in sorted(chosen))


if __name__ == "__main__":
    # Families of substances share runs of their names and of InChI's numbers, so half is allowed here.
    main(documents, near_duplicates=0.5, smallest=100)
