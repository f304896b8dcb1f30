"""The keys of a GGUF file, as the bytes that they are."""

import struct

U32, F32, TEXT, LIST = 4, 6, 8, 9
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", 5: "i", F32: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class _Reader:
    def __init__(self, content):
        self.content, self.at = content, len("GGUF") + 4

    def number(self, kind):
        size = struct.calcsize(f"<{kind}")
        self.at += size
        return struct.unpack(f"<{kind}", self.content[self.at - size : self.at])[0]

    def bytes(self, count):
        self.at += count
        return self.content[self.at - count : self.at]

    def skip(self, kind):
        if kind == TEXT:
            length = self.number("Q")
            self.at += length
        elif kind == LIST:
            inner, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += struct.calcsize(NUMBERS[kind])


def read_keys(path):
    """Returns each key's type and value, as stored in the file."""
    reader = _Reader(path.read_bytes())
    _tensors, count = reader.number("Q"), reader.number("Q")
    found = {}
    for _ in range(count):
        name = reader.bytes(reader.number("Q")).decode()
        start = reader.at
        reader.skip(reader.number("I"))
        found[name] = reader.content[start : reader.at]
    return found


def packed(text):
    """Returns a text as stored in a file."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def unpacked(value):
    """The text of a key."""
    return value[4 + 8 :].decode()
