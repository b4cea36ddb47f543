"""Pieces of streamflow's expression language, and how they are put together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["any", "bool", "number", "string", "time", "list", "record", "null"]

_NAME = re.compile(r"[^\W\d]\w*")
_KEPT = frozenset(
    ("and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await", "async", "yield", "True", "False", "None")
)


@dataclass(frozen=True, slots=True)
class Printed:
    """Text of an expression. `tight`: it can stand beside an operator without brackets; `whole`: it is never null."""

    text: str
    kind: Kind = "any"
    tight: bool = True
    whole: bool = False

    def __str__(self) -> str:
        """The text as an operand."""
        return self.text if self.tight else f"({self.text})"


NULL = Printed("null", "null")


def quoted(text: str) -> str:
    """A text constant."""
    signs = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    made = "".join(signs.get(c) or (c if c.isprintable() or c == " " else _escaped(c)) for c in text)
    return f'"{made}"'


def _escaped(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def constant(value: object) -> Printed:
    """A JSON value."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return Printed("true" if value else "false", "bool", whole=True)
    if isinstance(value, int | float):
        return Printed(repr(value), "number", tight=value >= 0, whole=True)
    if isinstance(value, str):
        return Printed(quoted(value), "string", whole=True)
    if isinstance(value, list | tuple):
        return listed(constant(v) for v in value)
    if isinstance(value, dict):
        return fields((str(k), constant(v)) for k, v in value.items())
    raise TypeError(type(value).__name__)


def listed(items: Iterable[Printed]) -> Printed:
    return Printed(f"[{', '.join(i.text for i in items)}]", "list", whole=True)


def fields(entries: Iterable[tuple[str, Printed]]) -> Printed:
    inside = ", ".join(f"{quoted(name)}: {value.text}" for name, value in dict(entries).items())
    return Printed(f"{{{inside}}}", "record", whole=True)


def call(name: str, *args: Printed, kind: Kind = "any", whole: bool = False) -> Printed:
    return Printed(f"{name}({', '.join(a.text for a in args)})", kind, whole=whole)


def key_of(of: Printed, key: str) -> Printed:
    """`of.key`, or `of["key"]` where the key is no name."""
    plain = _NAME.fullmatch(key) and key not in _KEPT and not (key.startswith("__") and key.endswith("__"))
    return Printed(f"{of}.{key}" if plain else f"{of}[{quoted(key)}]")


def field_of_item(key: str) -> Printed:
    return key_of(Printed("item"), key)


def path_of_item(path: str) -> Printed:
    """`a.b` of n8n's field names as `item.a.b`."""
    made = Printed("item")
    for key in path.split("."):
        made = key_of(made, key)
    return made


def as_text(value: Printed) -> Printed:
    """The value as text that can be joined to others: null is empty."""
    if value.kind == "string" and value.whole:
        return value
    inner = value if value.kind == "string" else call("string", value)
    return call("coalesce", inner, Printed('""'), kind="string", whole=True)


def joined(parts: Iterable[Printed]) -> Printed:
    """Texts joined to one."""
    texts = [as_text(p) for p in parts]
    if not texts:
        return constant("")
    return texts[0] if len(texts) == 1 else call("concat", *texts, kind="string", whole=True)


def truth(value: Printed) -> Printed:
    """Whether JavaScript takes a value for true. Never null, but for a comparison, whose null counts as false."""
    match value.kind:
        case "bool":
            return value
        case "null":
            return constant(False)
        case "string":
            return Printed(f'{value} != ""', "bool", tight=False)
        case "number":
            return Printed(f"{value} != 0", "bool", tight=False)
        case "time" | "list" | "record":
            return constant(True) if value.whole else Printed(f"{value} != null", "bool", tight=False, whole=True)
        case _:
            tests = f'{value} == null or {value} == false or {value} == 0 or {value} == ""'
            return Printed(f"not ({tests})", "bool", tight=False, whole=True)


def certain(value: Printed) -> Printed:
    """A condition whose null is false."""
    if value.whole:
        return value
    return call("coalesce", value, Printed("false"), kind="bool", whole=True)


def negated(value: Printed) -> Printed:
    """True where JavaScript takes a value for false."""
    if value.kind == "any":
        tests = f'{value} == null or {value} == false or {value} == 0 or {value} == ""'
        return Printed(tests, "bool", tight=False, whole=True)
    if value.text in ("true", "false"):
        return constant(value.text == "false")
    return Printed(f"not {certain(truth(value))}", "bool", tight=False, whole=True)


def equal(left: Printed, right: Printed) -> Printed:
    return Printed(f"{left} == {right}", "bool", tight=False, whole="null" in (left.kind, right.kind))


def unequal(left: Printed, right: Printed) -> Printed:
    """True also where one side is null and the other is not."""
    if "null" in (left.kind, right.kind):
        return Printed(f"{left} != {right}", "bool", tight=False, whole=True)
    inner = Printed(f"{left} != {right}", "bool", tight=False)
    if left.whole and right.whole:
        return Printed(inner.text, "bool", tight=False, whole=True)
    if left.whole or right.whole:
        return call("coalesce", inner, Printed("true"), kind="bool", whole=True)
    both = Printed(f"{left} != null or {right} != null", "bool", tight=False)
    return call("coalesce", inner, both, kind="bool", whole=True)


def both(parts: Iterable[Printed], word: Literal["and", "or"]) -> Printed:
    """Conditions under `and` or `or`; of none, true."""
    made = list(parts)
    if not made:
        return constant(True)
    if len(made) == 1:
        return made[0]
    return Printed(f" {word} ".join(str(p) for p in made), "bool", tight=False, whole=all(p.whole for p in made))
