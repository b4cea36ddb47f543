"""Fields computed one after another: an expression may name a field that an earlier one of the same node makes.

`{total: amount * qty, tier: '"gold" if total > 1000 else "standard"'}` reads as people mean it. Expressions are pure,
so a name of an earlier field stands for that field's expression: it is put in its place, in brackets. `item.total`
stays the field as the item brought it. A field may be called `not` or `meta`: such words keep their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from streamflow.sdk.expression import Expression

# What these say in an expression is no field (see streamflow.expressions), whatever fields are called.
_WORDS = frozenset(
    ("and", "or", "not", "in", "is", "if", "else", "for", "lambda", "async", "await", "yield", "true", "false", "null",
     "True", "False", "None", "item", "meta", "nodes", "vars")
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
    r"|(?P<number>\d[\w.]*)"
    r"|(?P<name>\$?[^\W\d]\w*)"
    r"|(?P<space>\s+)"
    r"|(?P<sign>.)",
    re.DOTALL,
)


def in_sequence(fields: Mapping[str, Expression]) -> dict[str, Expression]:
    """The same fields with every mention of an earlier field replaced by what it stands for."""
    done: dict[str, Expression] = {}
    for name, expression in fields.items():
        done[name] = replace_names(expression, {n: e.text for n, e in done.items()})
    return done


def replace_names(expression: Expression, meanings: Mapping[str, str]) -> Expression:
    """`expression` with free names replaced by bracketed texts; itself when it mentions none of them."""
    tokens = list(_TOKEN.finditer(expression.text))
    spoken = [t for t in tokens if t.lastgroup != "space"]
    replaced: dict[int, str] = {}
    for at, token in enumerate(spoken):
        if token.lastgroup != "name" or token.group() not in meanings or token.group() in _WORDS:
            continue
        before = spoken[at - 1].group() if at else ""
        after = spoken[at + 1].group() if at + 1 < len(spoken) else ""
        if before != "." and after != "(":
            replaced[token.start()] = f"({unwrapped(meanings[token.group()])})"
    if not replaced:
        return expression
    text = "".join(replaced.get(t.start(), t.group()) for t in tokens)
    return Expression(text, expression.place)


def unwrapped(text: str) -> str:
    """An expression without its wrappings `{{ … }}` and n8n's leading `=`, so that it can stand inside another."""
    text = text.strip()
    if text.startswith("={{"):
        text = text[1:]
    if text.startswith("{{") and text.endswith("}}") and len(text) >= 4:
        text = text[2:-2].strip()
    return text


def as_text(expression: Expression) -> Expression:
    """The value as text, null as empty text: what a template that is one expression alone stands for."""
    return Expression(f'coalesce(string({unwrapped(expression.text)}), "")', expression.place)
