"""Draws one-line mutants from Rust sources, as cargo-mutants does: operators, literals, match guards and whole function bodies.

Tokens are told apart by the layout of rustfmt: a binary operator has spaces around it, a unary one has none after it. Leaves out
tests, attributes, constants, patterns, logging macros and `Display`. What does not compile is for the caller to drop.
"""

import re

from planted_switches import CLOSING, OPENING, TOKEN, closing_after

BINARY = {
    "==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "&&": "||", "||": "&&",
    "+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=",
}  # fmt: skip
WORDS = {"true": "false", "false": "true"}
INTEGER = re.compile(r"(\d[\d_]*)([iu](?:8|16|32|64|128|size))?")
FLOAT = re.compile(r"(\d[\d_]*\.\d*)(f32|f64)?")
LOGS = {"trace", "debug", "info", "warn", "error", "event", "debug_span", "info_span"}
# Keywords that an operand can't end with.
KEYWORDS = {"return", "if", "match", "in", "while", "else", "move", "as", "break", "let", "mut"}
NUMBERS = re.compile(r"[iu](?:8|16|32|64|128|size)")


class Source:
    """The tokens of a file, and which of them are left out."""

    def __init__(self, text):
        self.text = text
        self.spans = [match.span() for match in TOKEN.finditer(text) if not match[0].startswith("//")]
        self.words = [text[begin:end] for begin, end in self.spans]
        self.out = [False] * len(self.words)
        for at, word in enumerate(self.words):
            if not self.out[at]:
                self.leave_out(at, word)

    def leave_out(self, at, word):
        words = self.words
        if word == "#" and words[at + 1 : at + 2] in (["["], ["!"]):
            bracket = words.index("[", at)
            end = closing_after(words, bracket + 1)
            attribute = "".join(words[bracket + 1 : end - 1])
            self.skip(at, self.item_end(end) if attribute in ("cfg(test)", "test") else end)
        elif word in ("const", "static") and words[at + 1] not in ("fn", "{", "unsafe"):
            self.skip(at, self.first(at, ";"))
        elif word in ("const", "macro_rules") and words[at + 1] in ("fn", "!"):
            self.skip(at, self.item_end(at))
        elif word == "impl" and {"Display", "Debug"} & set(words[at : self.first(at, "{")]):
            self.skip(at, self.item_end(at))
        elif words[at + 1 : at + 2] == ["!"] and words[at + 2 : at + 3] == ["("]:
            end = closing_after(words, at + 3)
            if word in LOGS:
                self.skip(at, end)
            elif word == "matches":
                self.skip(self.first(at + 3, ","), end)

    def skip(self, begin, end):
        self.out[begin:end] = [True] * (end - begin)

    def first(self, at, wanted):
        """The place of the first such token outside of brackets."""
        while at < len(self.words) and self.words[at] != wanted:
            at = closing_after(self.words, at + 1) if self.words[at] in OPENING else at + 1
        return at

    def item_end(self, at):
        """The end of the item that begins here: its block, or its semicolon."""
        words = self.words
        while at < len(words) and words[at] not in ("{", ";"):
            at = closing_after(words, at + 1) if words[at] in OPENING else at + 1
        return closing_after(words, at + 1) if words[at : at + 1] == ["{"] else at + 1

    def functions(self):
        """The functions: where each stands, its result type, and where its body's tokens begin and end."""
        for at, word in enumerate(self.words):
            if word != "fn" or self.out[at] or not re.match(r"\w", self.words[at + 1]):
                continue
            body = at
            while self.words[body] not in ("{", ";"):
                body = closing_after(self.words, body + 1) if self.words[body] in OPENING else body + 1
            if self.words[body] == ";":
                continue
            signature = self.words[at:body]
            arrow = signature.index("->") if "->" in signature else None
            result = signature[arrow + 1 :] if arrow is not None else []
            if "where" in result:
                result = result[: result.index("where")]
            yield at, " ".join(result), body + 1, closing_after(self.words, body + 1) - 1

    def in_pattern(self, at):
        """Returns true if a token belongs to the pattern of a match arm or of a `let`."""
        words, end = self.words, at
        while end < len(words) and words[end] not in ("=>", ";", "{", "}"):
            end = closing_after(words, end + 1) if words[end] in OPENING else end + 1
            if end < len(words) and words[end] in (")", "]"):
                end += 1
        begin = at
        while begin and words[begin] not in ("if", "=>", ";", "{", "}", "let", "="):
            begin -= 1
        return words[begin] == "let" or (words[end : end + 1] == ["=>"] and words[begin] != "if")


def mutants(file, text):
    """The mutants of a file: each with its place in the text, what stands there and what replaces it, its line, and in words what
    changes. One whose `old` is empty is put at the begin of a function's body."""
    source, found = Source(text), []
    for at, result, begin, end in source.functions():
        body = "".join(source.words[begin:end])
        for value in constants(result) if begin < end and not source.out[begin] else []:
            if body != value.replace(" ", ""):
                name = source.words[at + 1]
                mutant = {"old": "", "new": f"return {value};", "change": f"body of {name} → {value or 'nothing'}"}
                found.append(mutant | {"at": source.spans[begin - 1][1], "line_at": source.spans[at][0]})
        for token in range(begin, end):
            if not source.out[token]:
                found += of_token(source, token)
                source.out[token] = True
    return named(file, text, found)


def named(file, text, found):
    """Adds file, line and key; where one line has a change several times, they are counted."""
    keys, lines = {}, text.splitlines()
    for mutant in sorted(found, key=lambda mutant: mutant["at"]):
        number = text.count("\n", 0, mutant.pop("line_at", mutant["at"])) + 1
        line = lines[number - 1].strip()
        count = keys[number, mutant["change"]] = keys.get((number, mutant["change"]), 0) + 1
        if count > 1:
            mutant["change"] += f" ({count})"
        mutant |= {"file": file, "number": number, "line": line}
    return found


def constants(result):
    """Returns the values that replace a function's whole result of this type."""
    if result == "bool":
        return ["true", "false"]
    if NUMBERS.fullmatch(result):
        return ["0", "1"]
    if result in ("f32", "f64"):
        return ["0.0", "1.0", "-1.0"]
    if result in ("", "( )"):
        return [""]
    if result == "String":
        return ["String::new()", '"xyzzy".into()']
    if re.fullmatch(r"& ('\w+ )?str", result):
        return ['""', '"xyzzy"']
    if result.startswith("Option <"):
        return ["None"]
    if result.startswith("Vec <"):
        return ["Vec::new()"]
    if inner := re.fullmatch(r"(?:\w+ :: )*Result < (\( \)|[\w&' ]+?|Option <.*?>|Vec <.*?>)( ,.*)? >", result):
        return [f"Ok({value or '()'})" for value in constants(inner[1])]
    return []


def of_token(source, at):
    """The mutants of one token."""
    words, text = source.words, source.text
    word, (begin, end) = words[at], source.spans[at]
    spaced = text[begin - 1].isspace() and text[end : end + 1].isspace()
    unary = (text[begin - 1].isspace() or text[begin - 1] in OPENING) and not text[end : end + 1].isspace()
    operand = re.fullmatch(r"[\w.]+|[)\]}?]|\".*", words[at - 1], re.DOTALL) and words[at - 1] not in KEYWORDS
    if word in BINARY and spaced and operand and not source.in_pattern(at):
        return [change(begin, word, BINARY[word])]
    if word in ("!", "-") and unary and re.match(r"[\w(&*\"]", words[at + 1]) and not source.in_pattern(at):
        return [change(begin, word, "")]
    if word == "if" and (guard := guard_of(source, at)):
        return [change(source.spans[at + 1][0], guard, value) for value in ("true", "false") if guard != value]
    if source.in_pattern(at) or words[at - 1] == ".":
        return []
    if word in WORDS:
        return [change(begin, word, WORDS[word])]
    return [change(begin, word, value) for value in neighbors(word)]


def change(at, old, new):
    shown = " ".join(old.split())
    return {"at": at, "old": old, "new": new, "change": f"{shown} → {new}" if new else f"without {shown}"}


def neighbors(word):
    """A literal number plus one and minus one; integers stay above −1."""
    if found := INTEGER.fullmatch(word):
        number, suffix = int(found[1].replace("_", "")), found[2] or ""
        return [f"{value}{suffix}" for value in (number + 1, number - 1) if value >= 0]
    if found := FLOAT.fullmatch(word):
        number, suffix = float(found[1].replace("_", "")), found[2] or ""
        return [f"{round(value, 12)!r}{suffix}" for value in (number + 1, number - 1)]
    return []


def guard_of(source, at):
    """The text of the match guard that begins with this `if`; nothing where it begins something else."""
    words, end = source.words, at + 1
    while end < len(words) and words[end] not in ("=>", "{", ";", ",") and words[end] not in CLOSING:
        end = closing_after(words, end + 1) if words[end] in OPENING else end + 1
    if words[end : end + 1] != ["=>"] or "let" in words[at:end]:
        return None
    return source.text[source.spans[at + 1][0] : source.spans[end - 1][1]]
