"""Texts with `{{ … }}` in them, as expressions; and expressions without an item, for parameters."""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.expressions.projection import compile_projection
from streamflow.model.types import record_of
from streamflow.sdk.errors import DocumentError, ItemError
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS, Expression, Scope
from streamflow.sdk.places import Place


def parse_template(text: str, place: Place) -> Expression:
    """`Hello {{ name }}` as a concatenation, `{{ a }}` alone as `a` itself with its type, other text as a constant.

    Characters keep their columns on the line as far as they can: a finding in `{{ … }}` points near where it stands.
    """
    parts = _parts(text)
    if len(parts) == 1 and parts[0][0]:
        return Expression(parts[0][1].strip(), place.moved(_leading(text)))
    if not any(is_code for is_code, _ in parts):
        return Expression(_quoted(text), place)
    pieces = [f'coalesce(string({p}), "")' if is_code else _quoted(p) for is_code, p in parts if p]
    return Expression(f"concat({', '.join(pieces)})", place)


def _leading(text: str) -> int:
    inside = text.index("{{") + 2
    return inside + len(text[inside:]) - len(text[inside:].lstrip())


def _parts(text: str) -> list[tuple[bool, str]]:
    """(is code, text) in order. Braces that are never closed are text; quotes inside code may hold braces."""
    parts: list[tuple[bool, str]] = []
    at = 0
    while True:
        start = text.find("{{", at)
        end = _end(text, start + 2) if start >= 0 else -1
        if end < 0:
            if at < len(text) or not parts:
                parts.append((False, text[at:]))
            return parts
        if start > at:
            parts.append((False, text[at:start]))
        parts.append((True, text[start + 2 : end]))
        at = end + 2


def _end(text: str, at: int) -> int:
    """Where the `}}` stands that closes code starting at `at`; -1 when none does."""
    quote, depth = "", 0
    while at < len(text):
        sign = text[at]
        if quote:
            if sign == "\\":
                at += 1
            elif sign == quote:
                quote = ""
        elif sign in "'\"":
            quote = sign
        elif sign == "{":
            depth += 1
        elif sign == "}":
            if depth == 0:
                return at if text.startswith("}}", at) else -1
            depth -= 1
        at += 1
    return -1


def _quoted(text: str) -> str:
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def constant(expression: Expression, vars: Mapping[str, object]) -> object:
    """The value of an expression that reads no item, in its Python representation (see values.py).

    Raises DocumentError when it is wrong or reads an item, ItemError when it fails.
    """
    scope = Scope(item=record_of({}), vars=vars)
    projection, found = compile_projection({"value": expression}, scope, prefer="python")
    if projection is None:
        raise DocumentError("\n".join(map(str, found)))
    if projection.columns:
        raise DocumentError(
            f"{expression.place}: a parameter is constant, this reads {', '.join(sorted(projection.columns))}."
        )
    values, codes = projection.constant()
    if codes:
        code = codes[0]
        raise ItemError(f"{expression.text[:80]!r}: {ITEM_ERROR_TEXTS[code]}", item_code=ITEM_ERROR_CODES[code])
    return values[0]
