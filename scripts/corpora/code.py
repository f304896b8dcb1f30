"""Python 3.11's standard library, from the `python_stdlib.zip` that `pyodide` ships.

A document is a function, a class, or the top of a module (its docstring, imports and constants), each after a comment
with the module's name, which is its work; small neighbours are put together, and long classes cut between their methods. Left out: licence
headers, code tables (`encodings/cp*`, …), documentation kept as data (`pydoc_data`), Pyodide's own modules.
"""

import ast
import io
import re
import zipfile

from documents import main, size

TARGET = 1_000  # bytes: neighbours are put together up to it
LONGEST = 10_000  # bytes: a longer class is cut between its methods
OTHERS = re.compile(r"^(_?pyodide|pydoc_data|_sysconfigdata|test|.*/tests?/)")
LICENCE_COMMENT = re.compile(r"(?:^#.*\n)+", re.MULTILINE)
LICENCE_WORDS = re.compile(r"copyright|licen[sc]e|all rights reserved|warrant", re.IGNORECASE)


def without_licence(source):
    """Drops every block of comments that speaks of copyright or licence."""
    return LICENCE_COMMENT.sub(lambda block: "" if LICENCE_WORDS.search(block[0]) else block[0], source)


def starts(body):
    """The first line of each statement, its decorators counted in."""
    for node in body:
        yield min([node.lineno] + [decorator.lineno for decorator in getattr(node, "decorator_list", [])])


def comment_start(lines, line):
    """The line where the comment right above a definition starts, or the definition itself: they belong together."""
    while line > 1 and lines[line - 2].lstrip().startswith("#"):
        line -= 1
    return line


def parts(source):
    """The source cut before each top-level statement, and in long classes before each statement of the class."""
    lines = source.splitlines()
    cuts = []
    for node, start in zip((body := ast.parse(source).body), starts(body)):
        cuts.append(start)
        if isinstance(node, ast.ClassDef) and size("\n".join(lines[start - 1 : node.end_lineno])) > LONGEST:
            cuts += list(starts(node.body))[1:]
    cuts = sorted({1, *(comment_start(lines, cut) for cut in cuts)})
    return ["\n".join(lines[a - 1 : b - 1]).rstrip() for a, b in zip(cuts, cuts[1:] + [len(lines) + 1])]


def documents(pyodide):
    archive = zipfile.ZipFile(io.BytesIO((pyodide / "python_stdlib.zip").read_bytes()))
    for name in sorted(archive.namelist()):
        if not name.endswith(".py") or OTHERS.match(name):
            continue
        source = without_licence(archive.read(name).decode("utf-8").replace("\r\n", "\n").replace("\f", ""))
        if "decoding_table = (" in source or "decoding_map = " in source:
            continue
        group = []
        for part in parts(source):
            if group and size("\n".join(group)) + size(part) > TARGET:
                yield name, f"# {name}\n" + "\n\n".join(group)
                group = []
            group.append(part)
        yield name, f"# {name}\n" + "\n\n".join(group)


if __name__ == "__main__":
    main(documents)
