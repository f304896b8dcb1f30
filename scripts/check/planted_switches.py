"""Puts faults of one line behind a switch, so that one build has all of them (mutant schemata, Untch et al. 1993).

The expression around what a fault alters becomes `(if switched on { altered } else { sound })`, at the boundaries of an expression, so that
operators keep their places. The switch is the variable `PLANTED_FAULT`, which holds the fault's number. What can't be put so (a
pattern, a name, a constant) does not compile, and is planted by itself.
"""

import re

VARIABLE = "PLANTED_FAULT"
TOKEN = re.compile(
    r"""//[^\n]*|r#".*?"\#|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\[^\n]{1,8}?)'|'\w+|\w+(?:\.\d\w*)?|<<=|>>=|\.\.=|=>|==|!=|<=|>=|&&|\|\||->|::|\.\."""
    r"""|[-+*/%^&|]=|\S""",
    re.DOTALL,
)
OPENING, CLOSING = "([{", ")]}"
# An expression goes no further than these.
LEFT = {",", ";", "=", "=>", "|", "||", "&&", ":", "return", "if", "match", "in", "while", "else", "let", "->", "+=", "-=", "*=", "/="}
RIGHT = {",", ";", "=>", "{", "&&", "||", "else", ":"}


def tokens(text):
    """The places of the tokens of a text; comments are left out."""
    return [match.span() for match in TOKEN.finditer(text) if not match[0].startswith("//")]


def common(old, new):
    """Returns the numbers of equal tokens at the beginning and at the end of two lists."""
    least = min(len(old), len(new))
    first = next((at for at in range(least) if old[at] != new[at]), least)
    last = next((at for at in range(least - first) if old[-1 - at] != new[-1 - at]), least - first)
    return first, last


# Tokens that continue the expression that a block ends.
CONTINUES = {".", "?", "as", "+", "/", "%", "==", "!=", "<", ">", "<=", ">=", "..", "..="}


def expression(words, begin, end, wide=None):
    """The expression around the tokens `begin..end`, which may be none; `None` where there is no end to it. `wide` says whether it
    goes further than `&&`, as one with `||` does."""
    left, right = LEFT, RIGHT
    if has_or(words, begin, end) if wide is None else wide:
        # `a || b && c` is `a || (b && c)`.
        left, right = LEFT - {"&&"}, RIGHT - {"&&"}
    while True:
        # Brackets that the stretch closes or leaves open lie within the expression.
        depth, least = 0, 0
        for word in words[begin:end]:
            depth += (word in OPENING) - (word in CLOSING)
            least = min(least, depth)
        if least < 0:
            begin = opening_before(words, begin)
        elif depth > 0:
            end = closing_after(words, end)
        else:
            break
        if begin is None or end is None:
            return None
    while begin > 0 and words[begin - 1] not in left and words[begin - 1] not in OPENING:
        if words[begin - 1] == "}" and words[begin] not in CONTINUES:
            break
        begin = opening_before(words, begin - 1) if words[begin - 1] in CLOSING else begin - 1
        if begin is None:
            return None
    while end < len(words) and words[end] not in right and words[end] not in CLOSING:
        end = closing_after(words, end + 1) if words[end] in OPENING else end + 1
        if end is None:
            return None
    return begin, end


def has_or(words, begin, end):
    """Returns true if `||` joins two operands in these tokens, outside of their brackets; elsewhere it begins a closure."""
    depth = 0
    for at in range(begin, end):
        depth += (words[at] in OPENING) - (words[at] in CLOSING)
        if words[at] == "||" and depth == 0 and at and words[at - 1] not in LEFT | {"move", *OPENING}:
            return True
    return False


def opening_before(words, at):
    depth = 1
    while depth and at:
        at -= 1
        depth += (words[at] in CLOSING) - (words[at] in OPENING)
    return None if depth else at


def closing_after(words, at):
    depth = 1
    while depth and at < len(words):
        depth += (words[at] in OPENING) - (words[at] in CLOSING)
        at += 1
    return None if depth else at


class Place:
    """The stretch of a text that a fault alters, and the text after it. A fault without `old` is a statement, put where it says."""

    def __init__(self, text, fault):
        at = fault["at"] if "at" in fault else text.index(fault["old"])
        if not fault["old"]:
            self.span, self.faulty = (at, at), fault["new"]
            return
        after = text[:at] + fault["new"] + text[at + len(fault["old"]) :]
        places, new_places = tokens(text), tokens(after)
        words = [text[begin:end] for begin, end in places]
        new_words = [after[begin:end] for begin, end in new_places]
        first, last = common(words, new_words)
        self.span = None
        found = whole_expression(words, first, len(words) - last)
        if not found or found[0] == found[1]:
            return
        begin, end = found
        new_end = end + len(new_words) - len(words)
        # The added text must end within the same brackets.
        if new_end <= begin or expression(new_words, begin, new_end, has_or(words, begin, end)) != (begin, new_end):
            return
        self.span = places[begin][0], places[end - 1][1]
        self.faulty = after[new_places[begin][0] : new_places[new_end - 1][1]]


def whole_expression(words, begin, end):
    """As [`expression`], but around a whole call where several arguments are altered, and around a block or `match`."""
    while found := expression(words, begin, end):
        if found[0] > 0 and words[found[0] - 1] == "match" and words[found[1] - 1] == "}":
            begin, end = found[0] - 1, found[1]
            continue
        depth, parted = 0, False
        for word in words[found[0] : found[1]]:
            depth += (word in OPENING) - (word in CLOSING)
            parted |= depth == 0 and word in (",", ";", "=>")
        if not parted:
            return found
        begin, end = opening_before(words, found[0]), closing_after(words, found[1])
        if begin is None or end is None:
            return None
    return None


def switched(text, faults):
    """The text with its faults behind their switches, and of those that found a place where their own text and the whole
    expression begin and end. `faults` are pairs of a number and a fault."""
    placed = [(number, place) for number, fault in faults if (place := Place(text, fault)).span]
    # If expressions are nested, the outermost has the switch.
    outer = [span for span in {place.span for _, place in placed} if not any(within(span, place.span) for _, place in placed)]
    built, last, places = "", 0, {}
    for begin, end in sorted(outer):
        built += text[last:begin]
        sound, last = text[begin:end], end
        if any(named(place.faulty, sound) for _, place in placed if place.span == (begin, end)):
            built += f"{sound}: "
        start, own = len(built), {}
        built += "(" if sound else " "
        for number, place in placed:
            if place.span == (begin, end) or within(place.span, (begin, end)):
                faulty = text[begin : place.span[0]] + place.faulty + text[place.span[1] : end]
                link = f"if {switch(number)} {{ {field(faulty)} }} "
                own[number] = len(built), len(built) + len(link)
                built += link + ("else " if sound else "")
        built += f"{{ {sound} }})" if sound else ""
        places |= {number: (span, (start, len(built))) for number, span in own.items()}
    return built + text[last:], places


def within(span, other):
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def named(faulty, sound):
    """Returns true if a field that is set by its name alone is set to another value."""
    return bool(re.fullmatch(r"\w+", sound) and re.match(rf"{sound}: ", faulty))


def field(faulty):
    return re.sub(r"^\w+: ", "", faulty)


def switch(number):
    """Returns true if the fault is switched on; looked up once per process."""
    return (
        "{ static ON: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| "
        f'std::env::var_os("{VARIABLE}").is_some_and(|on| on == "{number}")); *ON }}'
    )
