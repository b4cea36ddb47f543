"""docs/expressions.md from the function table: `python -m streamflow.expressions.document` prints it."""

from __future__ import annotations

import sys

from streamflow.expressions.functions import FAMILIES, FUNCTIONS
from streamflow.expressions.limits import (
    BRACKETS_MAX,
    DEPTH_MAX,
    LAZY_DEPTH_MAX,
    LENGTH_MAX,
    LIST_ITEMS_MAX,
    PATTERN_CHARS_MAX,
    TEXT_CHARS_MAX,
    TOKENS_MAX,
    TRY_DEPTH_MAX,
)  # fmt: skip
from streamflow.expressions.problems import CODES
from streamflow.expressions.scope import META_NAMES
from streamflow.expressions.signatures import Function
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS

_INTRODUCTION = """\
<!-- Generated from streamflow/expressions by `python -m streamflow.expressions.document`; do not edit. -->
# Expressions

An expression computes a value from an item: `amount * qty > 500 and country in ["DE", "FR"]`. The language is a subset of
Python's expression syntax with types. Expressions are checked when the workflow is: a misspelt field is an error at its line
and column. They run on whole batches of columns where types are known, and row by row on JSON values, with the same results.

## Names

| name | what |
|---|---|
| `amount` | a field of the item; of a JSON item, the value of a key |
| `item` | the whole item; `item["first name"]` for names that are no identifiers, or that mean something else here |
| `meta.x` | where the item comes from: META |
| `nodes.<id>.<field>` | what an earlier node produced for this item; `nodes["my-id"]` for ids with signs in them |
| `vars.x` | a constant of the workflow |
| `true` `false` `null` | constants; Python's `True`, `False`, `None` too |

`meta.timestamp` is the event time (timestamp in milliseconds), `meta.key` the record key as text (an item error when it is no
UTF-8), `meta.headers` a map of bytes, the last of each name.

A whole expression may stand in `{{ … }}`, and n8n's names are accepted: `$json.x`, `$json["x"]`, `$item`, `$input.item.json.x`,
`$node["id"].json.x`, `$('id').item.json.x`, `$vars.x`, `$execution.id`. Names that are Python keywords (`from`, `class`) are
names like others; `and or not in is if else for lambda async await yield` are not, write `item["for"]`.

In a template, text with `{{ … }}` in it is joined to one text; a null gives an empty text there. A template that is one
`{{ … }}` and nothing else keeps the type of its expression.

## Operators

| operator | function | on |
|---|---|---|
| `+` `-` `*` | add, subtract, multiply | numbers; `+` also joins texts and lists |
| `/` | divide | numbers; always a double |
| `//` `%` | floor_divide, mod | numbers; rounding down, as in Python |
| `==` `!=` | equal, not_equal | values of one kind; `x == null` asks whether x is null |
| `<` `<=` `>` `>=` | less, less_equal, greater, greater_equal | numbers, texts, dates, times, bytes; `1 < x < 5` works |
| `in` `not in` | contains, not_contains | item of a list, part of a text, key of a map or object |
| `and` `or` `not` | | conditions |
| `a if c else b` | case | a null condition is false |
| `x[0]` `x[1:3]` `x["key"]` `x.key` | item_at, slice, get | lists, texts, maps, records, JSON |
| `[a, b]` `{"k": a}` | | a list; a record, whose keys are constant |

Precedence is Python's. There is no `**` (write `pow`), no lambda, comprehension, f-string, assignment, method or attribute of
Python. Text escapes are `\\\\n \\\\t \\\\r \\\\0 \\\\\\\\ \\\\' \\\\" \\\\xhh \\\\uhhhh \\\\Uhhhhhhhh`; any other backslash stays, so `"\\\\d+"` is a pattern.

## Meaning

- **Types.** int and long compute as long (64 bits), float and double as double. Decimals take part in arithmetic as doubles, and
  keep their exact value where they are only handed on or turned to text. Text beside a date or time in a comparison is read as
  ISO 8601. Other mixtures are errors when the workflow is checked. A union counts as JSON.
- **Null.** A function or operator on null gives null, but for those that ask about null. `and` and `or` are three-valued:
  `false and null` is false, `true and null` is null. A null condition counts as false. Null items of a list equal nothing.
- **Errors.** A failure concerns one item, which then follows the error policy of its node; see the codes below. `and`, `or`,
  `if`, `case`, `switch`, `coalesce` and `try` evaluate, from the left, only what is needed: `a != 0 and 10 / a > 1` never fails.
- **Numbers.** Integer overflow and division by zero fail, of doubles as well. NaN equals itself and is greater than all other
  numbers; `-0.0 == 0.0`. A long beside a double is compared as a double.
- **Text** is compared by code points; lengths and positions count code points.
- **JSON.** Values of type `any` are checked as they run. Numbers without fraction or exponent are long, others double. A missing
  key gives null, a key of something that is no object fails with wrong_type. `==` between different kinds is false, an order
  between them fails. NaN and infinities become null when written, dates ISO 8601 texts, bytes Base64 texts.

## Errors of an item

| code | meaning |
|---|---|
ITEM_ERRORS
## Errors of an expression

| code | meaning |
|---|---|
PROBLEMS
## Limits

LENGTH characters, TOKENS names, numbers and signs, BRACKETS brackets open at once, DEPTH levels, LAZY conditions inside each other,
TRY `try` inside each other; checked before anything is parsed or run. A pattern has at most PATTERN characters. A function makes
texts of at most TEXT characters and lists of at most ITEMS items; beyond that it fails with too_large.

## Functions

Types of parameters: `value` is anything, `object` a map, record or JSON object; `[…]` may be left out.
"""


def render() -> str:
    """The whole document."""
    replaced = {
        "META": ", ".join(f"`meta.{n}`" for n in META_NAMES),
        "ITEM_ERRORS": "".join(f"| {ITEM_ERROR_CODES[c]} | {ITEM_ERROR_TEXTS[c]} |\n" for c in ITEM_ERROR_CODES),
        "PROBLEMS": "".join(f"| {code} | {text} |\n" for code, text in CODES.items()),
        "LENGTH": f"{LENGTH_MAX:,}", "TOKENS": f"{TOKENS_MAX:,}", "BRACKETS": str(BRACKETS_MAX), "DEPTH": str(DEPTH_MAX),
        "LAZY": str(LAZY_DEPTH_MAX), "TRY": str(TRY_DEPTH_MAX), "PATTERN": f"{PATTERN_CHARS_MAX:,}",
        "TEXT": f"{TEXT_CHARS_MAX:,}", "ITEMS": f"{LIST_ITEMS_MAX:,}",
    }  # fmt: skip
    text = _INTRODUCTION
    for word, by in replaced.items():
        text = text.replace(word, by)
    names = sorted({f.name for f in FUNCTIONS.values()})
    lines = [text, f"{len(names)} functions, by family.\n"]
    for family in FAMILIES:
        lines.append(f"\n### {family.TITLE}\n\n{family.INTRO}\n\n| function | what | example |\n|---|---|---|\n")
        lines += [_row(f) for f in family.FUNCTIONS]
    return "".join(lines)


def _row(function: Function) -> str:
    forms = [function.special] if function.special else [s.spelled(function.name) for s in function.signatures]
    shown = "<br>".join(f"`{f}`" for f in _folded(forms))
    also = f" Also: {', '.join(f'`{a}`' for a in function.aliases)}." if function.aliases else ""
    examples = "<br>".join(f"`{_cell(text)}` → `{_cell(result)}`" for text, result in function.examples)
    return f"| {shown} | {function.doc.replace('|', chr(92) + '|')}{also} | {examples} |\n"


def _folded(forms: list[str]) -> list[str]:
    return forms if len(forms) <= 6 else [*forms[:5], "…"]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n")


def main() -> None:
    sys.stdout.write(render())


if __name__ == "__main__":
    main()
