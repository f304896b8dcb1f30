#!/usr/bin/env python3
"""Checks that links between files of the repository lead somewhere.

In every Markdown file under version control: relative links and images name a file, and anchors name a heading of it. Pages of
`docs/` are also pages of a book: each is listed in `docs/SUMMARY.md`, and their links stay inside `docs/`. In every other text file:
each mention of a page (`docs/….md`, with or without an anchor) names one. Paths of the source that a Markdown file has in backticks
(`crates/…`, `scripts/…`) exist.

    scripts/check/links.py [folder]     exits with 1 if anything is broken
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)|(?:src|href|srcset)=\"([^\"]+)\"", re.MULTILINE)
MENTION = re.compile(r"(?<![\w/.-])docs/[\w./-]+\.(?:md|png|svg)(?:#[\w-]+)?")
NAMED = re.compile(r"`((?:crates|scripts|tests|examples|configs|src|fuzz|\.ci|\.github)/[\w./-]*[\w-])(?:[ /][^`]*)?`")
TEXT = {".rs", ".toml", ".py", ".sh", ".html", ".yml", ".yaml", ".cff", "", ".tsv"}


def without_code(text):
    """The text with code blanked out; line numbers stay."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2 *$", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


def anchors(page):
    """The anchors that GitHub and mdBook give to the headings of a page."""
    found, seen = set(), {}
    text = re.sub(r"^( *)(```|~~~).*?^\1\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[anchor] = seen.get(anchor, -1) + 1
        found.add(anchor if seen[anchor] == 0 else f"{anchor}-{seen[anchor]}")
    return found | set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text))


def target_fault(root, page, target):
    """Returns the fault of one link of `page`, or None."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page.resolve()
    if not file.exists():
        return f"`{target}`: no such file"
    if not file.is_relative_to(root):
        return f"`{target}`: leads out of the repository"
    docs = root / "docs"
    if page.resolve().is_relative_to(docs) and not file.is_relative_to(docs):
        return f"`{target}`: leads out of docs/, where the book has no page; name the file in backticks"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"`{target}`: no heading with the anchor `#{anchor}`"
    return None


def faults(root, files):
    """Yields `file:line: what is wrong` for each broken link of `files`."""
    root = root.resolve()
    summary = root / "docs/SUMMARY.md"
    listed = set()
    for name in files:
        file = root / name
        if file.suffix not in TEXT | {".md"} or not file.is_file():
            continue
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        if file.suffix == ".md":
            found = [(m.start(), next(filter(None, m.groups()))) for m in LINK.finditer(without_code(text))]
            source, base = without_code(text), file
            for named in NAMED.finditer(text):
                if not (root / named[1]).exists():
                    yield f"{name}:{text.count(chr(10), 0, named.start()) + 1}: `{named[1]}`: no such file"
        else:
            found = [(m.start(), m[0]) for m in MENTION.finditer(text)]
            source, base = text, root / "any"
        for start, target in found:
            if re.match(r"[a-z]+:", target):
                continue
            if file == summary:
                listed.add((file.parent / target).resolve())
            fault = target_fault(root, base, target)
            if fault:
                yield f"{name}:{source.count(chr(10), 0, start) + 1}: {fault}"
    for name in files:
        file = root / name
        if file.suffix == ".md" and file.is_relative_to(root / "docs") and file != summary and file.resolve() not in listed:
            yield f"{name}: is not listed in docs/SUMMARY.md, so that the book leaves it out"


def check_itself():
    """Plants each kind of fault in a small tree, and fails unless every one is found and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "docs").mkdir()
        pages = {
            "README.md": "# A\n[x](docs/a.md#two-words)\n[y](docs/none.md)\n`[z](no)`\n```\n[z](no)\n```\n`src/gone.rs`\n",
            "docs/SUMMARY.md": "[a](a.md)\n",
            "docs/a.md": "# Two `words`\n[x](#two-words)\n[y](#three)\n[z](../README.md)\n",
            "docs/b.md": "# B\n",
            "code.rs": "// see docs/a.md#two-words\n// see docs/gone.md\n",
        }
        for name, text in pages.items():
            (root / name).write_text(text)
        found = [fault.split(": ")[0] for fault in faults(root, list(pages))]
        expected = ["README.md:8", "README.md:3", "docs/a.md:3", "docs/a.md:4", "code.rs:2", "docs/b.md"]
        if found != expected:
            sys.exit(f"links.py does not find the faults that it plants: {found}, expected {expected}")


def main():
    check_itself()
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, check=True, capture_output=True, text=True)
    files = [name for name in files.stdout.splitlines() if name != "scripts/check/links.py"]
    broken = list(faults(root, files))
    print("\n".join(broken), file=sys.stderr, end="\n" if broken else "")
    print(f"{len(broken)} broken links")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
