"""The tree of an expression on JSON, typed anew for objects of one shape.

Only what means the same on typed values as on JSON values is taken over; for all else there is no such tree, and the
general one does the work. Nulls and failures are left to that one too, so neither needs an answer here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from streamflow.expressions.functions import FUNCTIONS
from streamflow.expressions.numbering import Numbering
from streamflow.expressions.overloads import Mismatch, apply, convert, kind_of
from streamflow.expressions.shape import Kind, Shape
from streamflow.expressions.tree import Call, Column, Const, If, Logic, MakeRecord, Node, children
from streamflow.model.types import BOOL, DOUBLE, LONG, PAYLOAD, STRING, Type

# Functions whose typed overloads give for typed values what they give for the same values as JSON.
_SAME: Final = frozenset(
    ("add", "subtract", "multiply", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "contains",
     "not_contains", "not_")
)  # fmt: skip
_TYPES: Final[dict[Kind, Type]] = {"string": STRING, "long": LONG, "double": DOUBLE, "bool": BOOL}


class NoSuchTree(Exception):
    """An expression has no typed tree for this shape."""


def value_column(at: int) -> str:
    """Name of the column that holds the value of member `at` of a shape."""
    return f"v{at}"


class Specialiser:
    """Typed trees for one shape: columns are the values of its members, never null."""

    def __init__(self, shape: Shape, kinds: Mapping[str, Kind]) -> None:
        self.shape, self.kinds = shape, kinds
        self.read: set[int] = set()  # members whose values are computed with
        self._numbering = Numbering()
        self._known: dict[int, Node] = {}

    def typed(self, node: Node) -> Node:
        """The typed tree of `node`. Raises NoSuchTree."""
        number = self._numbering.of(node)
        if number not in self._known:
            self._known[number] = self._typed(node)
        return self._known[number]

    def member_of(self, node: Node) -> int | None:
        """The number of the member that `node` reads; None when it is something else, or the shape lacks the key."""
        if isinstance(node, Call) and node.name == "member" and _is_item(node.args[0]):
            key = node.args[1]
            if isinstance(key, Const) and key.value in self.shape.keys:
                return self.shape.keys.index(key.value)
        return None

    def _typed(self, node: Node) -> Node:
        match node:
            case Const():
                return _constant(node)
            case Call():
                return self._call(node)
            case Logic():
                args = tuple(self._of_type(a, BOOL) for a in node.args)
                return Logic(BOOL, node.word, args)
            case If():
                test, yes, no = self._of_type(node.test, BOOL), self.typed(node.yes), self.typed(node.no)
                if yes.type.kind != no.type.kind:
                    raise NoSuchTree  # typed branches are brought to one type, JSON values stay what they are
                return If(yes.type.required(), test, yes, no)
        raise NoSuchTree

    def _call(self, node: Call) -> Node:
        at = self.member_of(node)
        if at is not None:
            found = _TYPES.get(self.kinds[self.shape.keys[at]])
            if found is None:
                raise NoSuchTree
            self.read.add(at)
            return Column(found, value_column(at))
        if node.name == "convert":
            (inner,) = node.args
            return self.typed(inner) if node.type.kind == "any" else self._of_type(inner, node.type)
        if node.name not in _SAME:
            raise NoSuchTree
        try:
            return apply(FUNCTIONS[node.name], [self.typed(a) for a in node.args])
        except Mismatch:
            raise NoSuchTree from None

    def _of_type(self, node: Node, wanted: Type) -> Node:
        found = self.typed(node)
        if found.type.kind == wanted.kind:
            return found
        if (found.type.kind, wanted.kind) == ("long", "double"):
            return convert(found, DOUBLE)
        raise NoSuchTree


def object_parts(tree: Node, shape: Shape) -> dict[str, int | Node] | None:
    """Of a tree that makes one object of the item: by key, in order, the member that it takes over, or what it
    computes. None when the tree is something else.
    """
    tree = _unconverted(tree)
    if isinstance(tree, Call) and tree.name == "merge":
        found: dict[str, int | Node] = {}
        for part in map(_unconverted, tree.args):
            parts = _object(part, shape)
            if parts is None:
                return None
            found |= parts
        return found
    return _object(tree, shape)


def _object(tree: Node, shape: Shape) -> dict[str, int | Node] | None:
    if _is_item(tree):
        return {key: at for at, key in enumerate(shape.keys)}
    if isinstance(tree, Call) and tree.name in ("pick", "omit"):
        return _some(tree, shape)
    if isinstance(tree, MakeRecord):
        return dict(zip(tree.names, tree.args, strict=True))
    return None


def _some(tree: Call, shape: Shape) -> dict[str, int | Node] | None:
    whole, *names = tree.args
    keys = [n.value for n in names if isinstance(n, Const) and type(n.value) is str]
    if not _is_item(whole) or len(keys) != len(names):
        return None
    if tree.name == "pick":
        return {key: shape.keys.index(key) for key in keys if key in shape.keys}
    return {key: at for at, key in enumerate(shape.keys) if key not in keys}


def keys_read(tree: Node) -> tuple[frozenset[str], frozenset[str] | None]:
    """Keys of the item that an expression computes with, and those that it takes over; None: it may take over all."""
    computed: set[str] = set()
    kept: set[str] = set()
    whole = False
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, Call) and node.args and _is_item(node.args[0]) and node.name in ("member", "pick"):
            names = [n.value for n in node.args[1:] if isinstance(n, Const) and isinstance(n.value, str)]
            (computed if node.name == "member" else kept).update(names)
            stack += node.args[1:]
        else:
            whole = whole or _is_item(node)
            stack += children(node)
    return frozenset(computed), None if whole else frozenset(kept)


def _is_item(node: Node) -> bool:
    return isinstance(node, Column) and node.type.kind == "any" and node.name == PAYLOAD


def _unconverted(node: Node) -> Node:
    while isinstance(node, Call) and node.name == "convert" and node.type.kind == "any":
        (node,) = node.args
    return node


def _constant(node: Const) -> Const:
    value = node.value
    if node.type.kind != "any":
        if value is None or node.type.kind not in ("bool", "long", "double", "string", "array"):
            raise NoSuchTree
        return node
    if type(value) not in (bool, int, float, str):
        raise NoSuchTree
    return Const(kind_of(value), value)


def is_plain(text: str) -> bool:
    """Whether JSON writes a text as it is, between quotes."""
    return orjson.dumps(text).decode() == f'"{text}"'
