"""Licences and legal notices from ScanCode's `licensedcode-data`: English ones, without the YAML before the text.

Licences copy each other, so a paragraph of which more than a third was seen before is left out. A document is a
licence, or where that left holes, each stretch of new paragraphs in a row. Its work is the family of licences: their name
up to a version (`gpl-2.0`, `gpl-3.0-plus`: `gpl`).
"""

import re

from documents import NEAR_DUPLICATE, Seen, main

SMALLEST_STRETCH = 400  # bytes
ACCENTED = re.compile(r"[À-ÖØ-öø-ÿ]|[^\x00-\u024f\u2000-\u23ff\u25a0-\u27bf]")  # many of them: not English


def paragraphs(text):
    text = re.sub(r"(?m)^[ \t]*[-=*_#~/+]{4,}[ \t]*$", "", text.replace("\r\n", "\n"))  # rules
    text = re.sub(r"<[a-zA-Z/!][^<>\n]{0,200}>", "", text) if "</" in text else text  # HTML
    text = re.sub(r"(?<=\S)[ \t]{2,}(?=\S)", " ", text)  # justified lines
    parts = [part.strip("\n") for part in re.split(r"\n\s*\n", text) if part.strip()]
    return [part for part in parts if len(ACCENTED.findall(part)) < len(part) / 100]


def documents(licences):
    seen = Seen()
    for path in sorted((licences / "licensedcode/data/licenses").glob("*.LICENSE")):
        _, front_matter, text = (path.read_text("utf-8") + "\n").split("---\n", 2)
        language = re.search(r"^language: (\w+)", front_matter, re.MULTILINE)
        if language and language[1] != "en" or re.search("Ã|â€|\ufffd", text) or not text.strip():
            continue  # not English, or its encoding was broken before it came here
        family = re.split(r"[-_.]?v?\d", path.stem)[0] or path.stem
        stretch = []
        for paragraph in paragraphs(text):
            if seen.share(paragraph) <= NEAR_DUPLICATE:
                stretch.append(paragraph)
            elif stretch:
                yield family, "\n\n".join(stretch)
                stretch = []
        yield family, "\n\n".join(stretch)


if __name__ == "__main__":
    main(documents, smallest=SMALLEST_STRETCH)
