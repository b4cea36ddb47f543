"""Tokens of JavaScript expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal as OneOf

from streamflow.workflow.n8n.problems import NoEquivalent

CHARS_MAX = 20_000
TOKENS_MAX = 4_000
TEMPLATE_DEPTH_MAX = 8

_SPACE = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)++", re.DOTALL)
_NAME = re.compile(r"[^\W\d$][\w$]*|\$[\w$]*")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?"
)
_SIGN = re.compile(
    r">>>=|\.\.\.|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|=>|==|!=|<=|>=|&&|\|\||\?\?|\?\.(?![0-9])|\*\*|\+\+|--|<<|>>"
    r"|[-+*/%&|^]=|[-+*/%<>=!?:.,;()\[\]{}~&|^@#]"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")

Kind = OneOf["name", "number", "text", "template", "pattern", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """`value`: of a template pieces (text, expression behind it, its offset or -1); of a pattern (source, flags)."""

    kind: Kind
    at: int
    text: str
    value: object = None


def tokens(text: str) -> list[Token]:
    """All tokens, closed by one of kind end. Raises NoEquivalent."""
    if len(text) > CHARS_MAX:
        raise NoEquivalent(f"an expression of {len(text):,} characters; {CHARS_MAX:,} are read")
    made: list[Token] = []
    at = 0
    while True:
        if space := _SPACE.match(text, at):
            at = space.end()
        if at >= len(text):
            made.append(Token("end", at, ""))
            return made
        if len(made) >= TOKENS_MAX:
            raise NoEquivalent(f"an expression of more than {TOKENS_MAX:,} names and signs")
        token, at = _token(text, at, made)
        made.append(token)


def _token(text: str, at: int, before: list[Token]) -> tuple[Token, int]:
    sign = text[at]
    if sign in "'\"":
        value, end = _string(text, at)
        return Token("text", at, text[at:end], value), end
    if sign == "`":
        parts, end = _template(text, at, 0)
        return Token("template", at, text[at:end], parts), end
    if sign == "/" and _value_is_due(before):
        return _pattern(text, at)
    if found := _NAME.match(text, at):
        return Token("name", at, found[0]), found.end()
    if found := _NUMBER.match(text, at):
        return Token("number", at, found[0], _number(found[0])), found.end()
    if found := _SIGN.match(text, at):
        return Token("sign", at, found[0]), found.end()
    raise NoEquivalent(f"unexpected character {sign!r} in an expression")


def _value_is_due(before: list[Token]) -> bool:
    """Whether a slash here begins a pattern rather than divides."""
    if not before:
        return True
    last = before[-1]
    if last.kind == "name":
        return last.text in ("return", "typeof", "in", "of")
    return last.kind == "sign" and last.text not in (")", "]", "}")


def _number(text: str) -> int | float:
    plain = text.replace("_", "")
    if plain[:2].lower() in ("0x", "0b", "0o"):
        digits = plain[2:] or "0"
        value: int | float = int(digits, {"x": 16, "b": 2, "o": 8}[plain[1].lower()])
    elif plain.isdigit():
        value = int(plain) if len(plain) < 20 else float(plain)
    else:
        value = float(plain)
    if value in (float("inf"), float("-inf")) or (isinstance(value, int) and value >= 2**63):
        raise NoEquivalent(f"the number {text[:40]}")
    return value


def _string(text: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    quote, position = text[at], at + 1
    while position < len(text):
        sign = text[position]
        if sign == quote:
            return _checked("".join(parts)), position + 1
        if sign == "\\":
            piece, position = _escape(text, position)
            parts.append(piece)
            continue
        if sign == "\n":
            break
        parts.append(sign)
        position += 1
    raise NoEquivalent(f"a text that is never closed: {text[at : at + 20]!r}")


def _checked(text: str) -> str:
    """Pairs of \\u escapes that stand for one character become it."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _escape(text: str, at: int) -> tuple[str, int]:
    """What the backslash at `at` begins, and where it ends."""
    if at + 1 >= len(text):
        raise NoEquivalent("an expression that ends in a backslash")
    if found := _HEX.match(text, at + 1):
        code = int(found[1] or found[2] or found[3], 16)
        if code > 0x10FFFF:
            raise NoEquivalent(f"no character: {found[0]!r}")
        return chr(code), found.end()
    sign = text[at + 1]
    return ("" if sign == "\n" else _ESCAPES.get(sign, sign)), at + 2


def _template(text: str, at: int, depth: int) -> tuple[list[tuple[str, str, int]], int]:
    """Pieces (text, source of the expression behind it, its offset or -1) of a template literal, and its end."""
    if depth > TEMPLATE_DEPTH_MAX:
        raise NoEquivalent("template literals nested too deeply")
    pieces: list[tuple[str, str, int]] = []
    parts: list[str] = []
    position = at + 1
    while position < len(text):
        sign = text[position]
        if sign == "`":
            pieces.append((_checked("".join(parts)), "", -1))
            return pieces, position + 1
        if sign == "\\":
            piece, position = _escape(text, position)
            parts.append(piece)
        elif text.startswith("${", position):
            end = _hole_end(text, position + 2, depth)
            pieces.append((_checked("".join(parts)), text[position + 2 : end], position + 2))
            parts = []
            position = end + 1
        else:
            parts.append(sign)
            position += 1
    raise NoEquivalent("a template literal that is never closed")


def _hole_end(text: str, at: int, depth: int) -> int:
    """Where the brace stands that closes `${`."""
    level = 0
    while at < len(text):
        sign = text[at]
        if sign in "'\"":
            _, at = _string(text, at)
            continue
        if sign == "`":
            _, at = _template(text, at, depth + 1)
            continue
        if sign == "}" and level == 0:
            return at
        level += {"{": 1, "}": -1}.get(sign, 0)
        at += 1
    raise NoEquivalent("a template literal with a `${` that is never closed")


def _pattern(text: str, at: int) -> tuple[Token, int]:
    position, in_class = at + 1, False
    while position < len(text) and text[position] != "\n":
        sign = text[position]
        if sign == "\\":
            position += 2
            continue
        if sign == "/" and not in_class:
            flags = re.compile(r"[a-z]*").match(text, position + 1)
            assert flags is not None
            return Token("pattern", at, text[at : flags.end()], (text[at + 1 : position], flags[0])), flags.end()
        in_class = sign == "[" or (in_class and sign != "]")
        position += 1
    raise NoEquivalent("a regular expression that is never closed")
