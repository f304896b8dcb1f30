"""What every extractor shares: cleaning, cutting to size, dropping what was seen before, writing.

An extractor is a script `<domain>.py OUTPUT SOURCE…`: the sources are the domain's unpacked packages, in the order of
`packages.tsv`. It yields each document as its work and its text; `main` cleans, deduplicates and writes them, one JSON
object a line: `text`, and `work`, the name of what the document was cut from (a play, a page, a message). Documents of one
work are not independent of each other, so a split or an interval has to take works whole.
The output depends on the packages alone: no clock, no random numbers, no order of a directory listing.
"""

import gzip
import json
import re
import sys
import unicodedata
import zlib
from pathlib import Path

SMALLEST = 200  # bytes; below it a document is a heading or a stray line
LARGEST = 30_000  # bytes; above it a document is cut at paragraphs
NEAR_DUPLICATE = 0.33  # the share of a document's eight-word runs that came before, from which it is dropped

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufff0-\uffff]")


def clean(text):
    """UTF-8 NFC, Unix line ends, no control or invisible characters, no trailing blanks, at most one empty line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    text = unicodedata.normalize("NFC", CONTROL_CHARACTERS.sub("", text))
    text = re.sub(r"[ \t\u00a0]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def unwrap(text):
    """Joins the lines of each paragraph, for prose that was wrapped at a fixed width."""
    return "\n\n".join(re.sub(r"\s*\n\s*", " ", part.strip()) for part in re.split(r"\n\s*\n", text) if part.strip())


def size(text):
    return len(text.encode())


def pieces(text, limit=LARGEST):
    """Cuts a text into parts of at most about `limit` bytes: at empty lines, or where there are none, at line ends."""
    if size(text) <= limit:
        return [text]
    separator = "\n\n" if "\n\n" in text else "\n" if "\n" in text else " "
    parts, current, current_size = [], [], 0
    # Even parts rather than full ones and a crumb at the end.
    wanted = size(text) / -(-size(text) // limit)
    for block in text.split(separator):
        if current and current_size + size(block) / 2 > wanted:
            parts.append(separator.join(current))
            current, current_size = [], 0
        current.append(block)
        current_size += size(block) + len(separator)
    parts.append(separator.join(current))
    if separator == " ":
        return parts
    # A block without empty lines can still be too long: cut it at its lines.
    return [piece for part in parts for piece in (pieces(part, limit) if size(part) > 1.5 * limit else [part])]


class Seen:
    """Remembers eight-word runs, to tell how much of a text came before. Keeps one run in four: enough to judge by."""

    def __init__(self):
        self.runs = set()

    def share(self, text):
        """The share of this text's runs that came before; the text is remembered."""
        words = re.findall(r"\w+", text.lower())
        runs = {zlib.crc32(" ".join(words[i : i + 8]).encode()) for i in range(max(1, len(words) - 7))}
        kept = {run for run in runs if run % 4 == 0} or runs
        share = len(kept & self.runs) / len(kept)
        self.runs |= kept
        return share


def write(path, records):
    """One JSON object a line, gzipped without name or time, so that the same input gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def main(documents, near_duplicates=NEAR_DUPLICATE, smallest=SMALLEST):
    """Cleans and writes an extractor's documents, those left out that are short, or came before in much the same words."""
    output, sources = Path(sys.argv[1]), [Path(source) for source in sys.argv[2:]]
    seen_texts, seen = set(), Seen()
    kept, kept_bytes, dropped = [], 0, {"short": 0, "duplicate": 0, "near duplicate": 0}
    for work, document in documents(*sources):
        for text in map(clean, pieces(clean(document))):
            if size(text) < smallest:
                dropped["short"] += 1
            elif text in seen_texts:
                dropped["duplicate"] += 1
            elif seen.share(text) > near_duplicates:
                dropped["near duplicate"] += 1
            else:
                seen_texts.add(text)
                kept.append({"text": text, "work": work})
                kept_bytes += size(text)
    write(output / "documents.jsonl.gz", kept)
    losses = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    works = len({record["work"] for record in kept})
    print(f"{len(kept)} documents of {works} works, {kept_bytes} bytes" + (f" (dropped: {losses})" if losses else ""))
