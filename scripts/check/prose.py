#!/usr/bin/env python3
"""Checks the language of comments and documents: what doc comments begin with, words that the glossary bans, long lines.

A doc comment begins with a verb or a noun: never with What, Which, Who, Where, How, Whether or Of, and it is never a bare
genitive ("The run's."). So do comments and docstrings of scripts. The doc comment of a test is a claim that begins with "Checks", "Compares", "Measures" or "Prints". A section
`# Errors` begins with "Fails" (or "Always fails", "Returns"), a section `# Panics` with "Panics". Comments, messages in string literals
and Markdown use the glossary's terms (`TERMS` below) and American spelling. Comments have at most 120 columns.

    scripts/check/prose.py                prints the findings and a table of them by group; exits with 1 if there are any
    scripts/check/prose.py --wrap FILE…   wraps the paragraphs of Rust comments that have a long line

A group is a crate, or a folder of the root.
"""

import re
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 120
OPENER = re.compile(r"(?:What|Which|Who|Whose|Whom|Where|How|Whether|Of)\b")
GENITIVE = re.compile(r"(?:(?:The|A|An|Its|Their|This|That|Each|Every|All) )?(?:[\w`-]+ ){0,3}[\w`-]+(?:'s|s')(?: own)?\.$")
BRITISH = (
    "initialis|normalis|optimis|stabilis|minimis|maximis|recognis|capitalis|quantis|specialis|authoris|tokenis|serialis|"
    "generalis|linearis|regularis|summaris|organis|memoris|vectoris|parallelis|synchronis|randomis"
)
# Words that the glossary bans, with their replacements.
TERMS = [
    (rf"(?:un|re|de)?(?:{BRITISH})(?:e|es|ed|er|ers|ing|ation|ations|able)", "American spelling: -ize"),
    ("colours?|coloured|behaviours?|neighbours?|neighbouring|favour\\w*|centred?|labelled|licences?|artefacts?|"
     "travelled|honours?|grey", "American spelling"),
    ("learnt|spelt|burnt|dreamt", "learned, spelled"),
    ("data sets?", "dataset"),
    ("old(?:er)? domains?", "retained domains"),
    ("(?:dev|development|test|audit|first|second|other) hal(?:f|ves)", "dev / test / audit split"),
    ("held[- ]out sides?|train sides?", "held-out / training split"),
    ("puts? (?:it |them |\\w+ )?back|putting back", "reset"),
    (r"reverts?(?!\.(?:json|md|html))|reverted|reverting", "reset"),
    ("who (?:helps|hurts) wh?om?", "transfer between domains"),
    ("in (?:many|several|seven|five|\\w+) ways", "by … methods"),
    ("strain|strains|leaning|leans", "violation, weight of a domain"),
    ("the school|school's", "synthetic corpus"),
    ("no terminal|is none (?:that|which|of)", "not a terminal; \"has none\""),
    ("what moves|what may move", "trainable parameters"),
    ("whoever|whomever|wherever else", "plain subject"),
    ("held losses?|held so", "distillation; kept within"),
    ("mend|mends|mended|mending", "fix"),
    ("anew", "again"),
    (r"(?<!there )(?<!there also )(?:is|are|was|were) no (?:\w+ )?(?:folder|file|text|list|object|checkpoint|model|adapter|number|run|dataset)s?",
     "is not a …"),
]
BANNED = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead) for pattern, instead in TERMS]
# "Set if" and "Same as" only as the beginning of a comment or of a sentence: elsewhere they are plain English.
VAGUE = [
    (re.compile(r"\bwhatever\b", re.IGNORECASE), "for any …; even if …"),
    (re.compile(r"(?:^|(?<=\. ))Set (?:if|for each)\b"), "True if …"),
    (re.compile(r"(?:^|(?<=\. ))Same as\b"), "Fails as [`…`] does"),
]
SECTIONS = {"# Errors": re.compile(r"(?:Fails|Always fails|Returns)\b"), "# Panics": re.compile(r"Panics\b")}
CLAIM = re.compile(r"(?:Checks|Compares|Measures|Prints)\b")
SAVED = re.compile(r"(?:rename|alias) = |// earlier name")
FILE_NAME = re.compile(r'"[\w.{}/-]+\.(?:html|json|md|toml)"')
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
# Lists of words from which the synthetic corpus is made.
WORD_LISTS = ["crates/data/src/synthetic/lexicon.rs"]
KINDS = ["opener", "genitive", "term", "vague", "section", "claim", "long line"]


@dataclass
class Finding:
    """Something to fix."""

    kind: str
    place: str
    text: str


def banned(text, place):
    """Yields the banned terms of a text."""
    for pattern, instead in BANNED:
        for match in pattern.finditer(text):
            yield Finding("term", place, f"`{match[0]}`: say {instead}")


def comment_of(line):
    """Returns the marker and the text of a comment that fills a line, or None."""
    match = re.match(r"\s*(///|//!|//|#)(?!\[|!)\s?(.*)", line)
    return (match[1], match[2]) if match else None


def is_test(lines, at):
    """Returns true if the attributes from line `at` on, below a doc comment, have `#[test]`."""
    for line in lines[at:]:
        if not re.match(r"\s*(?:#\[|\)\]|\])", line):
            return False
        if "#[test]" in line:
            return True
    return False


def sections(text, following, place):
    """Yields the finding of a section whose first line does not begin as such sections do."""
    expected = SECTIONS.get(text.strip())
    if expected and not (following and expected.match(following[1])):
        yield Finding("section", place, f"`{text.strip()}` is followed by `{following[1] if following else ''}`")


def in_rust(lines, name):
    """Yields the findings of a Rust file."""
    before, code, open_string = None, False, False
    for number, line in enumerate(lines, 1):
        place = f"{name}:{number}"
        comment = comment_of(line) if line.lstrip().startswith("//") else None
        if comment is None:
            before, code = None, False
            # A line that ends with a backslash, and the one after it, have a part of a string.
            continues = line.rstrip("\n").endswith("\\")
            parts = [line] if (continues or open_string) and name not in WORD_LISTS else STRING.findall(line)
            open_string = continues
            for string in parts:
                # Words of saved files and of aliases stay as they are.
                if SAVED.search(line) or FILE_NAME.fullmatch(string):
                    continue
                yield from banned(string, place)
            continue
        marker, text = comment
        if len(line.rstrip("\n")) > COLUMNS and "http" not in line:
            yield Finding("long line", place, f"{len(line.rstrip())} columns")
        if text.startswith("```"):
            code = not code
        if code:
            before = marker
            continue
        if marker != "//":
            yield from sections(text, comment_of(lines[number]) if number < len(lines) else None, place)
        # Only the first line of a comment is its opener.
        if before != marker:
            if OPENER.match(text):
                yield Finding("opener", place, text)
            below = number
            while marker == "///" and below < len(lines) and re.match(r"\s*///", lines[below]):
                below += 1
            if marker == "///" and is_test(lines, below) and not CLAIM.match(text):
                yield Finding("claim", place, text)
            last = number == len(lines) or (comment_of(lines[number]) or ("", ""))[0] != marker
            if marker != "//" and last and GENITIVE.match(text):
                yield Finding("genitive", place, text)
        before = marker
        plain = re.sub(r"`[^`]*`", "", text)
        yield from banned(plain, place)
        for pattern, instead in VAGUE:
            if pattern.search(plain):
                yield Finding("vague", place, f"{text}: say {instead}")


def in_markdown(lines, name):
    """Yields the findings of a Markdown file, code aside."""
    code = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield from banned(re.sub(r"`[^`]*`|\]\([^)]*\)", "", line), f"{name}:{number}")


def in_script(lines, name):
    """Yields the findings of comments that begin with `#`, and of docstrings: scripts and configurations."""
    for number, line in enumerate(lines, 1):
        opened = re.match(r'\s*(?:"""|# )(?=\S)', line)
        is_first = '"""' in line or number == 1 or not re.match(r"\s*# ", lines[number - 2])
        # The extractors are part of the corpora's digest, so their comments stay.
        if opened and is_first and OPENER.match(line[opened.end():]) and not name.startswith("scripts/corpora/"):
            yield Finding("opener", f"{name}:{number}", line.strip())
        if line.lstrip().startswith("#") and not line.startswith("#!"):
            yield from banned(line, f"{name}:{number}")
            if len(line.rstrip()) > COLUMNS + 10 and "http" not in line:
                yield Finding("long line", f"{name}:{number}", f"{len(line.rstrip())} columns")


def wrapped(lines):
    """Returns the lines of a Rust file with each comment paragraph that has a long line filled again; lists and code stay."""
    out, block, code = [], [], False

    def flush():
        if any(len(line.rstrip("\n")) > COLUMNS for line in block):
            start, marker = re.match(r"(\s*)(///|//!|//)", block[0]).groups()
            text = " ".join(comment_of(line)[1].strip() for line in block)
            block[:] = [line + "\n" for line in textwrap.wrap(
                text, COLUMNS - 2, initial_indent=f"{start}{marker} ", subsequent_indent=f"{start}{marker} ",
                break_long_words=False, break_on_hyphens=False,
            )]
        out.extend(block)
        block.clear()

    for line in lines:
        comment = comment_of(line) if re.match(r"\s*//", line) else None
        text = comment[1] if comment else ""
        code ^= text.startswith("```")
        plain = comment and text and not code and not re.match(r"```|\s|[-*|#>]|\d+\. |\[[^\]]+\]:", text)
        if not plain or (block and re.match(r"\s*//[/!]?", line)[0] != re.match(r"\s*//[/!]?", block[0])[0]):
            flush()
        if plain:
            block.append(line)
        else:
            out.append(line)
    flush()
    return out


READERS = {".rs": in_rust, ".md": in_markdown, ".toml": in_script, ".sh": in_script, ".py": in_script}


def group_of(name):
    """Returns the group of a file: `crates/data`, `tests`, `docs`, …; files of the root are the group `.`."""
    parts = name.split("/")
    return "." if len(parts) == 1 else "/".join(parts[: 2 if parts[0] == "crates" else 1])


def check_itself():
    """Fails unless each kind of finding is found in a sample, and nothing in a good one."""
    bad = ["/// What it is.\n", "fn a() {}\n", "/// The run's.\n", "b: u8,\n", "/// Loads an old domain.\n", f"// {'x' * 120}\n", '"learnt"\n']
    bad += ["/// Loads.\n", "/// # Errors\n", "/// A full disk.\n", "fn c() {}\n", "/// Two are equal.\n", "#[test]\n", "fn d() {}\n"]
    bad += ["/// Loads it, whatever its name.\n", "fn e() {}\n", "/// Set if it is loaded.\n", "f: bool,\n"]
    bad += ['"it is \\\n', '   learnt and spelt\\\n', '   by \\"heart\\""\n']
    good = ["/// Loads a domain.\n", "/// What follows is fine: not an opener.\n", "let x = \"retained domain\"; // what\n"]
    good += ["/// Loads.\n", "///\n", "/// # Errors\n", "/// Fails if the disk is full.\n", "fn c() {}\n"]
    good += ["/// Checks that two\n", "/// are equal.\n", "#[test]\n", "#[ignore]\n", "fn d() {}\n"]
    script = ['"""Whether it is loaded."""\n', "# What it is.\n", "# Of two lines, what follows is fine.\n"]
    found = [finding.kind for finding in [*in_rust(bad, "bad"), *in_script(script, "bad")]]
    expected = ["opener", "genitive", "term", "long line", "term", "section", "claim", "vague", "vague", "term", "term", "opener", "opener"]
    if found != expected or list(in_rust(good, "good")):
        sys.exit(f"prose.py does not find the faults that it plants: {found}, {list(in_rust(good, 'good'))}")


def main():
    check_itself()
    if sys.argv[1:2] == ["--wrap"]:
        for name in sys.argv[2:]:
            file = Path(name)
            file.write_text("".join(wrapped(file.read_text().splitlines(keepends=True))))
        return
    root = Path(__file__).parents[2]
    names = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    found, groups = {}, set()
    for name in names:
        file = root / name
        read = READERS.get(file.suffix)
        if read is None or not file.is_file() or name == "scripts/check/prose.py" or name.startswith("."):
            continue
        text = file.read_text()
        # The words of a generated page are those of its sources.
        if "<!-- Generated" in text[:400]:
            continue
        groups.add(group_of(name))
        found.setdefault(group_of(name), []).extend(read(text.splitlines(keepends=True), name))
    print(f"{'group':<18}" + "".join(f"{kind:>11}" for kind in KINDS))
    for group in sorted(groups):
        count = Counter(finding.kind for finding in found[group])
        print(f"{group:<18}" + "".join(f"{count[kind]:>11}" for kind in KINDS))
    findings = [finding for group in sorted(groups) for finding in found[group]]
    for finding in findings:
        print(f"{finding.place}: {finding.kind}: {finding.text}")
    print(f"{len(findings)} findings")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
