"""The World English Bible and Matthew Henry's Concise Commentary, from SWORD modules. A document is a chapter.

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


def documents(bible, commentary):
    for package, start in ((bible, r"<chapter\b[^>]*sID=[^>]*>"), (commentary, r"(?=<title\b[^>]*>Chapter \d+</title>)")):
        folder = next(package.glob("usr/share/sword/modules/**/ot.bzz")).parent
        for testament in ("ot", "nt"):
            text = " ".join(entries(folder, testament))
            yield from map(plain, re.split(start, text))


if __name__ == "__main__":
    main(documents)
