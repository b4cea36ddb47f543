"""Which parts of a tree are the same computation: what stands in two places is computed once.

All functions are pure, so two calls of one function with the same arguments are one computation.
"""

from __future__ import annotations

from streamflow.expressions.tree import Call, Column, Const, Member, Node


class Numbering:
    """A number for each part of a tree; equal numbers mean equal values. Not thread-safe."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[Node, int]] = {}  # the node is kept, so that its id stays its own
        self._numbers: dict[object, int] = {}

    def of(self, node: Node) -> int:
        known = self._by_id.get(id(node))
        if known is None:
            known = node, self._numbers.setdefault(self._key(node), len(self._numbers))
            self._by_id[id(node)] = known
        return known[1]

    def _key(self, node: Node) -> object:
        """Equal for equal computations; what is not told apart cheaply is equal to itself alone."""
        match node:
            case Column():
                return "column", node.name
            case Member():
                return "member", node.field, self.of(node.record)
            case Const() if node.value is None or type(node.value) in (bool, int, str, bytes):
                return "constant", type(node.value), node.value
            case Call():
                return "call", id(node.bound.does.py), node.bound.strict, node.type, *map(self.of, node.args)
        return "node", id(node)
