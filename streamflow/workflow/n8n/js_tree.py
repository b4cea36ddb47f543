"""The tree of a JavaScript expression, as far as n8n's users write it. `at` is the offset in the text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Js:
    """Any expression."""

    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal(Js):
    """A number, text, boolean, null or undefined (both None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(Js):
    """`/source/flags`."""

    source: str
    flags: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Js):
    """A template literal: its pieces, text and expressions."""

    parts: tuple[str | Js, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Js):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Js):
    """`of.name`, `of?.name`."""

    of: Js
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(Js):
    """`of[key]`."""

    of: Js
    key: Js


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Js):
    of: Js
    args: tuple[Js, ...]
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(Js):
    """`sign of`: ! - + typeof."""

    sign: str
    of: Js


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Js):
    sign: str
    left: Js
    right: Js


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Js):
    """`test ? yes : no`."""

    test: Js
    yes: Js
    no: Js


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Js):
    """`[a, b]`."""

    items: tuple[Js, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields(Js):
    """`{a: 1, "b": 2}`."""

    fields: tuple[tuple[str, Js], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow(Js):
    """A function: read so that it can be named as what has no equivalent, `body` where it is an expression."""

    params: tuple[str, ...]
    body: Js | None


def children(tree: Js) -> tuple[Js, ...]:
    """The expressions right inside one."""
    match tree:
        case Text(parts=parts):
            return tuple(p for p in parts if isinstance(p, Js))
        case Member(of=of) | Unary(of=of):
            return (of,)
        case Index(of=of, key=key):
            return (of, key)
        case Call(of=of, args=args):
            return (of, *args)
        case Binary(left=left, right=right):
            return (left, right)
        case Choice(test=test, yes=yes, no=no):
            return (test, yes, no)
        case Items(items=items):
            return items
        case Fields(fields=fields):
            return tuple(value for _, value in fields)
        case Arrow(body=body) if body is not None:
            return (body,)
        case _:
            return ()
