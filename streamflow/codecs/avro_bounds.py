"""A strict walk over the bytes of one Avro value, before the fallback's decoder may touch them.

fastavro trusts its input: five bytes that announce an array of a billion nulls make it build one, a union branch of
-1 picks the last. The walk builds nothing, stops at the first byte that cannot be right, and limits items that take
no bytes. What passes decodes in memory and time proportional to its length.
"""

from __future__ import annotations

from typing import Final

from streamflow.codecs.avronodes import MAP_KEY, Node
from streamflow.codecs.varints import read_varint

EMPTY_ITEMS_MAX: Final = 10_000  # items without bytes, in all arrays of one value together


def check(value: bytes, node: Node, start: int = 0) -> None:
    """Raises ValueError unless `value[start:]` is exactly one value of `node`."""
    walk = _Walk(value)
    end = walk.value(node, start)
    if end != len(value):
        raise ValueError(f"{len(value) - end} bytes behind the value")


class _Walk:
    def __init__(self, value: bytes) -> None:
        self.bytes, self.end, self.empty_items = value, len(value), 0

    def value(self, node: Node, at: int) -> int:
        """The position behind the value at `at`."""
        size = node.union_size
        if not size:
            if node.kind != "union":
                return self.plain(node, at)
            size = len(node.branches) + (node.null_at >= 0)
        if (
            at < self.end and (byte := self.bytes[at]) < 0x80
        ):  # read_varint's first line: this is where a walk spends time
            branch, at = (byte >> 1) ^ -(byte & 1), at + 1
        else:
            branch, at = read_varint(self.bytes, at, self.end)
        if branch == node.null_at >= 0:
            return at
        if not 0 <= branch < size:
            raise ValueError(f"union branch {branch} of {size}")
        if node.kind == "union":
            return self.value(node.branches[branch - (1 if 0 <= node.null_at < branch else 0)], at)
        return self.plain(node, at)

    def plain(self, node: Node, at: int) -> int:
        kind = node.kind
        if kind in ("string", "bytes"):
            return self.sized(node, at)
        if kind in ("int", "long", "boolean", "enum"):
            number, at = read_varint(self.bytes, at, self.end)
            if node.limits and not node.limits[0] <= number <= node.limits[1]:
                raise ValueError(f"{number} is no {node.type}")
            return at
        if kind in ("float", "double", "fixed"):
            size = node.type.size_bytes if kind == "fixed" else 4 if kind == "float" else 8
            if at + size > self.end:
                raise ValueError(f"{kind} of {size} bytes with {self.end - at} left")
            self.decimal(node, at, size)
            return at + size
        if kind == "record":
            for _, n in node.fields:
                at = self.value(n, at)
            return at
        return at if kind == "null" else self.items(node, at)

    def sized(self, node: Node, at: int) -> int:
        size, at = read_varint(self.bytes, at, self.end)
        if size < 0 or at + size > self.end:
            raise ValueError(f"{node.kind} of {size} bytes with {self.end - at} left")
        if node.kind == "string":
            self.bytes[at : at + size].decode()  # UnicodeDecodeError is a ValueError
        self.decimal(node, at, size)
        return at + size

    def decimal(self, node: Node, at: int, size: int) -> None:
        if node.type.kind == "decimal":
            number = int.from_bytes(self.bytes[at : at + size], "big", signed=True)
            if abs(number) >= 10**node.type.precision:
                raise ValueError(f"a number of more than {node.type.precision} digits")

    def items(self, node: Node, at: int) -> int:
        assert node.element is not None
        is_map = node.kind == "map"
        while True:
            count, at = read_varint(self.bytes, at, self.end)
            if count == 0:
                return at
            block = None
            if count < 0:
                count = -count
                size, at = read_varint(self.bytes, at, self.end)
                block = at + size
            if is_map or not node.element.is_empty:
                if count > self.end - at:
                    raise ValueError(f"{count} items with {self.end - at} bytes left")
            else:
                self.empty_items += count
                if self.empty_items > EMPTY_ITEMS_MAX:
                    raise ValueError(f"more than {EMPTY_ITEMS_MAX} items without bytes")
            for _ in range(count):
                if is_map:
                    at = self.sized(MAP_KEY, at)
                at = self.value(node.element, at)
            if block is not None and at != block:
                raise ValueError(f"a block of other size than announced: {at} instead of {block}")
