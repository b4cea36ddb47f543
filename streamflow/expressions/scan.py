"""Tokens of an expression, and the plain-ASCII text of equal length that `ast.parse` may see.

`ast.parse` is given structure only: every name becomes `xxx`, every string `'xxx'`, character for character. So hostile
or unusual text never reaches it, positions stay exact, names that are Python keywords (`from`, `class`) and n8n's
`$json` are names like others, and the meaning of string escapes is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streamflow.expressions.limits import BRACKETS_MAX, LENGTH_MAX, TOKENS_MAX
from streamflow.expressions.problems import FORBIDDEN, LIMIT_EXCEEDED, SYNTAX, Problem

_SPACE = re.compile(r"[ \t\r\n]+")
_NAME = re.compile(r"\$?[^\W\d]\w*|\$")
_NUMBER = re.compile(
    r"0[xXoObB][0-9a-fA-F_]+|[0-9][0-9_]*(?:\.(?:[0-9][0-9_]*)?)?(?:[eE][+-]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?"
)
_STRING = re.compile(r"(?i:(f?r?|rf|br?|rb|u)(?=['\"]))")
_OPERATOR = re.compile(r"===|!==|\*\*|//|==|!=|<=|>=|:=|=>|&&|\|\||\?\?|\?\.|<<|>>|[-+*/%<>()\[\]{},.:=!?&|^~@;]")
_KEPT = frozenset(
    ["and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await", "async", "yield"]
)  # structure, or forbidden by name
_FOREIGN = {
    "===": "write `==`", "!==": "write `!=`", "&&": "write `and`", "||": "write `or`", "!": "write `not`",
    "?": "write `a if condition else b`", "??": "write `coalesce(a, b)`", "?.": "write `.`: a missing key gives null",
    "=>": "there are no function literals", ";": "write one expression",
    "=": "write `==` to compare; expressions assign nothing",
}  # fmt: skip
_FORBIDDEN = {
    "**": "write `pow(a, b)`", ":=": "expressions assign nothing", "<<": "", ">>": "", "&": "write `and`",
    "|": "write `or`", "^": "", "~": "write `not`", "@": "",
}  # fmt: skip
_PAIRS = {")": "(", "]": "[", "}": "{"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "0": "\0", "\n": ""}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(slots=True)
class Scanned:
    """`plain` has the length of the source text. `strings` are (start, end, value) in order of appearance."""

    plain: str
    strings: list[tuple[int, int, str | bytes]] = field(default_factory=list)
    first_names: set[int] = field(default_factory=set)  # offsets of all name tokens


def scan(text: str) -> Scanned:
    """Check every limit that needs no tree and make the text for `ast.parse`. Raises Problem."""
    if len(text) > LENGTH_MAX:
        raise Problem(0, LIMIT_EXCEEDED, f"the expression has {len(text):,} characters", f"{LENGTH_MAX:,} are allowed.")
    source, start = _unwrapped(text)
    plain: list[str] = [" " * start]
    result = Scanned("")
    open_brackets: list[tuple[str, int]] = []
    at, tokens, end = start, 0, len(source)
    while at < end:
        if space := _SPACE.match(source, at):
            plain.append(" " * (space.end() - at))
            at = space.end()
            continue
        tokens += 1
        if tokens > TOKENS_MAX:
            raise Problem(at, LIMIT_EXCEEDED, f"the expression has more than {TOKENS_MAX:,} names, numbers and signs")
        character = source[at]
        if character in "'\"" or (_STRING.match(source, at) and character not in "'\""):
            stop, value, prefix = _string(source, at)
            result.strings.append((at, stop, value))
            inside = stop - at - len(prefix) - 2
            plain.append(f"{prefix}'{'x' * inside}'")
        elif name := _NAME.match(source, at):
            stop = name.end()
            if name[0] in _KEPT and not _after_dot(plain):
                plain.append(name[0])
            else:
                result.first_names.add(at)
                plain.append("x" * (stop - at))
        elif number := _NUMBER.match(source, at):
            stop = number.end()
            if _NAME.match(source, stop) or source[stop : stop + 1] == "_":
                raise Problem(at, SYNTAX, f"{source[at : stop + 8]!r} is neither a number nor a name")
            plain.append(number[0])
        elif operator := _OPERATOR.match(source, at):
            stop = operator.end()
            _brackets(operator[0], at, open_brackets)
            plain.append(operator[0])
        else:
            raise Problem(at, SYNTAX, f"unexpected character {character!r}")
        at = stop
    if open_brackets:
        raise Problem(open_brackets[-1][1], SYNTAX, f"{open_brackets[-1][0]!r} is never closed")
    if not tokens:
        raise Problem(0, SYNTAX, "the expression is empty")
    result.plain = "".join(plain) + " " * (len(text) - end)
    return result


def _unwrapped(text: str) -> tuple[str, int]:
    """The text up to where the expression ends, and where it starts: `{{ … }}` and n8n's leading `=` are set aside."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if text.startswith("={{", start):
        start += 1
    if text.startswith("{{", start) and text.endswith("}}", 0, end) and end - start >= 4:
        return text[: end - 2], start + 2
    return text[:end], start


def _after_dot(plain: list[str]) -> bool:
    last = next((p for p in reversed(plain) if not p.isspace()), "")
    return last == "."


def _brackets(sign: str, at: int, opened: list[tuple[str, int]]) -> None:
    if sign in _FOREIGN:
        raise Problem(at, SYNTAX, f"unexpected {sign!r}", f"{_FOREIGN[sign].capitalize()}.")
    if sign in _FORBIDDEN:
        mend = _FORBIDDEN[sign]
        raise Problem(
            at, FORBIDDEN, f"operator {sign!r} is not part of expressions", f"{mend.capitalize()}." if mend else ""
        )
    if sign in "([{":
        opened.append((sign, at))
        if len(opened) > BRACKETS_MAX:
            raise Problem(at, LIMIT_EXCEEDED, f"more than {BRACKETS_MAX} brackets are open at once")
    elif sign in _PAIRS:
        if not opened or opened[-1][0] != _PAIRS[sign]:
            raise Problem(at, SYNTAX, f"{sign!r} closes nothing")
        opened.pop()


def _string(source: str, at: int) -> tuple[int, str | bytes, str]:
    """End, value and prefix of the string literal that starts at `at`."""
    matched = _STRING.match(source, at)
    prefix = matched[0] if matched else ""
    kind = prefix.lower()
    if "f" in kind:
        raise Problem(at, FORBIDDEN, "f-strings are not part of expressions", "Join with `+` or concat(…).")
    quote, begin = source[at + len(prefix)], at + len(prefix) + 1
    if source.startswith(quote * 2, begin):
        raise Problem(at, FORBIDDEN, "triple-quoted strings are not part of expressions", "Quote once.")
    parts: list[str] = []
    position = begin
    while True:
        if position >= len(source):
            raise Problem(at, SYNTAX, f"the string is never closed by {quote}")
        character = source[position]
        if character == quote:
            break
        if character == "\\" and position + 1 < len(source):
            taken, piece = _escape(source, position, raw="r" in kind)
            parts.append(piece)
            position += taken
            continue
        parts.append(character)
        position += 1
    value = "".join(parts)
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise Problem(at, SYNTAX, "the string holds half of a surrogate pair, which is no character")
    if "b" in kind:
        if not value.isascii() and any(ord(c) > 255 for c in value):
            raise Problem(at, SYNTAX, "bytes hold characters up to \\xff only")
        return position + 1, value.encode("latin-1"), prefix
    return position + 1, value, prefix


def _escape(source: str, at: int, *, raw: bool) -> tuple[int, str]:
    """(characters taken, what they mean) for the backslash at `at`; one we do not know stays as it is, as in Python."""
    sign = source[at + 1]
    if raw:
        return 2, source[at : at + 2]
    if sign in _HEX:
        digits = source[at + 2 : at + 2 + _HEX[sign]]
        if len(digits) == _HEX[sign] and re.fullmatch(r"[0-9a-fA-F]+", digits) and int(digits, 16) <= 0x10FFFF:
            return 2 + len(digits), chr(int(digits, 16))
        raise Problem(at, SYNTAX, f"'\\{sign}' needs {_HEX[sign]} hexadecimal digits of a character")
    return 2, _ESCAPES.get(sign, source[at : at + 2])
