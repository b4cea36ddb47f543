"""The typed tree: what an expression means once every name and type is known. Both backends read only this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamflow.expressions.signatures import Bound
from streamflow.model.types import Type


@dataclass(frozen=True, slots=True)
class Const:
    """A value known now, in its Python representation (see values.py)."""

    type: Type
    value: object


@dataclass(frozen=True, slots=True)
class Column:
    """A frame column."""

    type: Type
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a typed record; null when the record is null."""

    type: Type
    record: Node
    field: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator applied to arguments that have exactly the types it was bound to."""

    type: Type
    name: str
    bound: Bound
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` / `or` in three-valued logic, left to right: the rest is not evaluated once the result is known."""

    type: Type
    word: str  # "and" | "or"
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """`yes if test else no`; a null test is false."""

    type: Type
    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first argument that is not null; later ones are not evaluated."""

    type: Type
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """`value`, or `fallback` where `value` fails."""

    type: Type
    value: Node
    fallback: Node


@dataclass(frozen=True, slots=True)
class Failed:
    """A constant part that fails for every item that evaluates it."""

    type: Type
    code: int


@dataclass(frozen=True, slots=True)
class MakeList:
    """A list literal whose items have the element type already."""

    type: Type
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MakeRecord:
    """A dict literal (of type record, or any), or a whole item put together from its columns."""

    type: Type
    names: tuple[str, ...]
    args: tuple[Node, ...]


Node = Const | Column | Member | Call | Logic | If | Coalesce | Try | Failed | MakeList | MakeRecord


def children(node: Node) -> tuple[Node, ...]:
    """Direct parts of a node in order of evaluation."""
    match node:
        case Member():
            return (node.record,)
        case Call() | Logic() | Coalesce() | MakeList() | MakeRecord():
            return node.args
        case If():
            return (node.test, node.yes, node.no)
        case Try():
            return (node.value, node.fallback)
        case _:
            return ()


def nodes(root: Node) -> Iterator[Node]:
    """All nodes below and including `root`."""
    yield root
    for child in children(root):
        yield from nodes(child)
