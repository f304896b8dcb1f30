"""The World English Bible and Matthew Henry's Concise Commentary, from SWORD modules. A document is a chapter, of the Bible or of
the commentary; its work is the book of the Bible.

Only one translation: two of one book would put the same content on both sides of a split.
"""

import html
import re
import struct
import zlib

from documents import main, unwrap

VERSE = struct.Struct("<IIH")  # block, offset in it, length
BLOCK = struct.Struct("<III")  # offset, compressed size, size


def entries(folder, testament):
    """The verses of a compressed SWORD module in order; a comment on several verses stands once."""
    packed = (folder / f"{testament}.bzz").read_bytes()
    blocks = [zlib.decompress(packed[offset : offset + length])
              for offset, length, _size in BLOCK.iter_unpack((folder / f"{testament}.bzs").read_bytes())]
    before = None
    for verse in VERSE.iter_unpack((folder / f"{testament}.bzv").read_bytes()):
        block, offset, length = verse
        if length and verse != before:
            yield blocks[block][offset : offset + length].decode("utf-8")
        before = verse


def plain(osis):
    """OSIS mark-up to text: notes dropped, a paragraph where a paragraph, title or line of verse starts."""
    osis = re.sub(r"<note\b.*?</note>", " ", osis, flags=re.DOTALL)
    osis = re.sub(r"<title\b[^>]*>Chapter Outline</title>|<title\b[^>]*>Chapter \d+</title>", " ", osis)
    osis = re.sub(r"</?(?:l|lb|row|table)\b[^>]*>", "\v", osis)
    osis = re.sub(r"<(?:div|lg|p)\b[^>]*>|</?title\b[^>]*>", "\n\n", osis)
    osis = re.sub(r"</cell>", " ", osis)
    text = unwrap(re.sub(r"[ \t]+", " ", html.unescape(re.sub(r"<[^>]+>", "", osis))).replace("\v", " \v "))
    text = re.sub(r"\s*(?: ?\v ?)+\s*", "\n", text)  # lines of verse, kept through `unwrap` as vertical tabs
    return re.sub(r" +([,.;:?!])", r"\1", text)


def chapters(text, start):
    """Cuts a testament at what marks a chapter's start; gives each part with the book that it lies in."""
    marks = [(mark.start(), mark.end()) for mark in re.finditer(start, text)]
    books = [(mark.start(), mark[1]) for mark in re.finditer(r'<chapter\b[^>]*osisID="(\w+)\.[^>]*sID=', text)]
    at = 0
    for (_, begin), (end, _) in zip([(0, 0), *marks], [*marks, (len(text), 0)]):
        while at < len(books) and books[at][0] < begin:
            at += 1
        yield books[at - 1][1] if at else "front matter", text[begin:end]


def documents(bible, commentary):
    for package, start in ((bible, r"<chapter\b[^>]*sID=[^>]*>"), (commentary, r"(?=<title\b[^>]*>Chapter \d+</title>)")):
        folder = next(package.glob("usr/share/sword/modules/**/ot.bzz")).parent
        for testament in ("ot", "nt"):
            text = " ".join(entries(folder, testament))
            for book, chapter in chapters(text, start):
                yield book, plain(chapter)


if __name__ == "__main__":
    main(documents)
