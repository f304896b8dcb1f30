"""What Sage's docstrings explain about mathematics: public classes, methods and functions of `python3-sage`.

A document is a docstring after the name of what it describes: prose, LaTeX and worked sessions; its work is the module. Cut are test sections,
authors and Sphinx's mark-up; docstrings with less than a few lines of prose are left out, or it would all be sessions.
"""

import ast
import re

from documents import main, size

NO_MATHEMATICS = {"cpython", "doctest", "docs", "env", "ext", "ext_data", "features", "interfaces", "misc", "repl",
                  "server", "tests"}
SMALLEST_PROSE = 200  # bytes outside sessions
LEFT_OUT = re.compile(r"^(TESTS?|AUTHORS?|Authors?|REFERENCES?|\.\. SEEALSO|SEEALSO|TODO|\.\. TODO|Check that|Test )\b")
SECTION = re.compile(r"^(\.\. )?[A-Z][A-Z ]+S?(::|:)|^\.\. [A-Z]+::")


def sections(docstring):
    """The docstring's lines without the sections that are left out, up to the next section at the margin."""
    skipping = False
    for line in docstring.splitlines():
        if LEFT_OUT.match(line):
            skipping = True
        elif SECTION.match(line):
            skipping = False
        if not skipping:
            yield line


def plain(docstring):
    text = "\n".join(sections(docstring))
    text = re.sub(r":\w+:`~?([^`<>]+?)(?:\s*<[^`>]*>)?`", r"`\1`", text)  # :meth:`gens`
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"(?m)^[ \t]*\.\. (?:index|_[^:\n]*|auto\w+|only|linkall|PLOT|image|figure|csv-table|rubric)::?.*\n?", "", text)
    text = re.sub(r"(?m)^([ \t]*)\.\. ([A-Za-z]\w+)::?[ \t]*", lambda found: f"{found[1]}{found[2].capitalize()}: ", text)
    text = re.sub(r"\[([^\]\s]+)\]_", r"[\1]", text)
    text = re.sub(r"[ \t]*# (?:indirect doctest|optional|long time|random|py2|py3|not tested|known bug).*", "", text)
    text = re.sub(r"(?m)^[ \t]*::[ \t]*$", "", text)
    return re.sub(r"::[ \t]*$", ":", text, flags=re.MULTILINE)


def prose(text):
    """The text outside sessions: what is not indented, or is indented but neither a session nor the output after one."""
    return "\n".join(part for part in re.split(r"\n\s*\n", text) if "sage: " not in part)


def described(body, prefix=""):
    """The public definitions with their docstrings."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            docstring = ast.get_docstring(node)
            if docstring:
                yield prefix + node.name, docstring
            if isinstance(node, ast.ClassDef):
                yield from described(node.body, f"{prefix}{node.name}.")


def documents(sage):
    root = sage / "usr/lib/python3/dist-packages/sage"
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in NO_MATHEMATICS:
            continue
        module = ast.parse(path.read_text("utf-8"))
        heading = str(path.relative_to(root).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        opening = ast.get_docstring(module)
        for name, docstring in [(heading, opening)] * bool(opening) + list(described(module.body)):
            text = plain(docstring)
            if size(prose(text)) >= SMALLEST_PROSE:
                yield heading, f"{name}\n\n{text}"


if __name__ == "__main__":
    main(documents)
