"""The manuals of Django and SQLAlchemy, from the sources of both; release notes and change logs are left out.

A document is one or more neighbouring sections of a page; its work is the page. Sphinx's mark-up is turned into plain text.
"""

import re

from documents import main, pieces, size

TARGET = 3_000  # bytes: neighbouring sections are put together up to it
LONGEST = 12_000
UNDERLINE = re.compile(r"^([=\-~^\"'*+#.])\1{2,}[ \t]*$")
DROPPED = re.compile(r"^[ \t]*\.\. (?:index|toctree|_[^\n]*|auto\w+|currentmodule|module|highlight|image|figure|literalinclude|"
                     r"contents|testsetup|testcleanup|rst-class|meta|include|only|container|topic|tags|"
                     r"default-\w+|snippet|seealso|raw|math|role|py:module|changelog\w*)(?:\b.*)?$")
KEPT = re.compile(r"^([ \t]*)\.\. ([\w:.-]+)::[ \t]*(.*)$")
NAMED = {"note": "Note:", "admonition": "", "warning": "Warning:", "tip": "Tip:", "versionadded": "New in version",
         "versionchanged": "Changed in version", "deprecated": "Deprecated since version", "important": "Important:",
         "sidebar": "", "legacy": "Legacy:", "deepalchemy": "In depth:", "caution": "Caution:", "rubric": ""}
CODE = re.compile(r"(?:code|code-block|console|sourcecode|parsed-literal|doctest|testcode|testoutput|highlight)$")


def indent(line):
    return len(line) - len(line.lstrip())


def without_directives(text):
    """Drops the directives that only steer Sphinx, with what is indented under them; names the others in plain words."""
    lines, kept, at = text.splitlines(), [], 0
    while at < len(lines):
        line = lines[at]
        at += 1
        comment = re.match(r"^[ \t]*\.\.([ \t]+(?!\S+::)|$)", line)
        if DROPPED.match(line) or comment:
            while at < len(lines) and (not lines[at].strip() or indent(lines[at]) > indent(line)):
                at += 1
            kept.append("")
            continue
        found = KEPT.match(line)
        if not found:
            kept.append(line)
            continue
        margin, directive, argument = found.groups()
        while at < len(lines) and re.match(r"^\s+:[\w-]+:", lines[at]):  # options
            at += 1
        if not CODE.search(directive):
            kept.append(f"{margin}{NAMED.get(directive, '')} {argument}".rstrip().replace("  ", " ") or "")
            if not kept[-1].strip().startswith(tuple(filter(None, NAMED.values()))):
                kept[-1] = margin + kept[-1].strip()
    return "\n".join(kept)


def plain(text):
    text = re.sub(r":[\w:-]+:`[~!.]?([^`<>]*?[^`<>\s])\s*<[^`>]*>`", r"\1", text)  # :ref:`words <target>`
    text = re.sub(r":[\w:-]+:`[~!.]*(?:_\w+\.)?([^`]+)`", r"\1", text)  # :class:`_orm.Mapper`
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"`([^`<>]+?)\s*<[^`<>]+>`__?", r"\1", text)
    text = re.sub(r"`([^`]+)`__?\b", r"\1", text)
    text = re.sub(r"\|(\w+)\|", r"\1", text)
    text = re.sub(r"\{(?:execsql|opensql|printsql|stop|sql)\}", "", text)
    return re.sub(r"::[ \t]*$", ":", text, flags=re.MULTILINE)


def sections(page):
    """The page cut before each heading: a line, underlined, and perhaps overlined; rules are dropped."""
    lines, current = page.splitlines(), []
    for at, line in enumerate(lines):
        after = lines[at + 1] if at + 1 < len(lines) else ""
        if UNDERLINE.match(line):
            continue
        if line.strip() and line[0] != " " and UNDERLINE.match(after) and len(after.strip()) >= len(line.strip()) - 3:
            yield "\n".join(current)
            current = []
        current.append(line)
    yield "\n".join(current)


def documents(django, sqlalchemy):
    pages = [path for path in (django / "docs").rglob("*.txt") if "releases" not in path.parts]
    pages += [path for path in (sqlalchemy / "doc/build").rglob("*.rst") if "changelog" not in path.parts]
    for path in sorted(pages):
        manual, name, root = ("django", "docs", django) if path.is_relative_to(django) else ("sqlalchemy", "doc/build", sqlalchemy)
        page = f"{manual}/{path.relative_to(root / name).with_suffix('').as_posix()}"
        group = []
        for section in sections(plain(without_directives(path.read_text("utf-8").replace("\r\n", "\n")))):
            if group and size("\n\n".join(group)) + size(section) > TARGET:
                for piece in pieces("\n\n".join(group), LONGEST):
                    yield page, piece
                group = []
            if section.strip():
                group.append(section.strip("\n"))
        for piece in pieces("\n\n".join(group), LONGEST):
            yield page, piece


if __name__ == "__main__":
    main(documents)
