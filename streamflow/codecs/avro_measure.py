"""Proof that a columnar read took every byte for what it was.

polars reads the rows of a block one behind another, with nothing between them. If one value took more or fewer bytes
than its record holds, all that follows is garbage that may look fine. So the bytes that each value *should* have
taken are added up again from the decoded columns, in the shortest form of every number; a caller compares them with
the lengths that Kafka put around key, value and record. Padded numbers, arrays in several blocks, numbers outside
their type and union tags out of range do not add up, or are refused here: then the batch goes the slow way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.avronodes import MAP_KEY, Node
from streamflow.codecs.varints import Bytes, Sizes, sizes_of

Ints = npt.NDArray[np.int64]


class MismatchError(Exception):
    """The columns cannot have come from canonical bytes of the schema."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of a column: `size` a row, tag included; `inner` are the parts that hold tags, for `check_tags`."""

    node: Node
    size: Sizes
    valid: npt.NDArray[np.bool_] | None = None  # None: no nulls
    lengths: Ints | None = None  # items of each array that is not null
    inner: tuple[Measured, ...] = ()


def byte_lengths(frame: pl.DataFrame) -> dict[str, Ints]:
    """Bytes of every text and byte string of a frame by column, 0 for null: all in one pass."""
    wanted = [
        (pl.col(name).str.len_bytes() if dtype == pl.String else pl.col(name).bin.size()).fill_null(0).cast(pl.Int64)
        for name, dtype in frame.schema.items()
        if dtype in (pl.String, pl.Binary)
    ]
    return {s.name: s.to_numpy() for s in frame.select_seq(wanted)} if wanted else {}


def measure(column: pl.Series, node: Node, lengths: Ints | None = None) -> Measured:
    """The sizes of a raw column. `lengths`: of its strings, if they are known. Raises MismatchError for numbers outside
    their type."""
    nulls = column.null_count()
    if nulls and not node.union_size:
        raise MismatchError("null where none may be")
    if nulls and nulls == len(column):
        return Measured(node, np.ones(nulls, np.int64), np.zeros(nulls, np.bool_))
    if node.kind in ("string", "bytes"):
        return _measure_strings(column, node, lengths)
    if not node.union_size:
        return _measure_values(column, node)
    if not nulls:
        m = _measure_values(column, node)
        return Measured(node, m.size + 1, None, m.lengths, m.inner)
    present = column.is_not_null()
    m = _measure_values(column.filter(present), node)
    valid = present.to_numpy()
    size = np.ones(len(column), np.int64)
    size[valid] += m.size
    return Measured(node, size, valid, m.lengths, m.inner)


def measure_all(frame: pl.DataFrame, nodes: Iterable[tuple[str, Node]]) -> tuple[Measured, ...]:
    """The sizes of these columns of a frame."""
    lengths = byte_lengths(frame)
    return tuple(measure(frame[name], node, lengths.get(name)) for name, node in nodes)


def _measure_strings(column: pl.Series, node: Node, lengths: Ints | None) -> Measured:
    if lengths is None:
        lengths = byte_lengths(column.to_frame("v"))["v"]
    size = lengths + sizes_of(lengths)
    if not node.union_size:
        return Measured(node, size)
    if not column.null_count():
        return Measured(node, size + 1)
    valid = column.is_not_null().to_numpy()
    return Measured(node, np.where(valid, size + 1, 1), valid)


def _measure_values(column: pl.Series, node: Node) -> Measured:
    kind = node.kind
    if kind in ("int", "long", "boolean", "enum"):
        numbers = column.to_numpy()
        limits = node.limits
        if limits and len(numbers) and not (limits[0] <= int(numbers.min()) and int(numbers.max()) <= limits[1]):
            raise MismatchError(f"a number outside {limits}")
        return Measured(node, sizes_of(numbers))
    if kind in ("float", "double", "fixed"):
        return Measured(node, node.type.size_bytes if kind == "fixed" else 4 if kind == "float" else 8)
    if kind == "record":
        parts = measure_all(column.struct.unnest(), [(name, n) for name, n in node.fields if not n.is_empty])
        return Measured(node, sum((p.size for p in parts), start=0), inner=parts)
    return _measure_list(column, node)


def _measure_list(column: pl.Series, node: Node) -> Measured:
    assert node.element is not None
    lengths = column.list.len().to_numpy().astype(np.int64)
    items = column.explode(empty_as_null=False, keep_nulls=False)
    if node.kind == "map":
        before = _measure_strings(items.struct.field("key"), MAP_KEY, None).size
        value = None if node.element.is_empty else measure(items.struct.field("value"), node.element)
        size = before if value is None else before + value.size
        inner = (Measured(MAP_KEY, before), *(() if value is None else (value,)))
    else:
        value = measure(items, node.element)
        size, inner = value.size, (value,)
    total = segment_sums(size, lengths) + np.where(lengths > 0, sizes_of(lengths) + 1, 1)
    return Measured(node, total, lengths=lengths, inner=inner)


def segment_sums(size: Sizes, lengths: Ints) -> Ints:
    """Sum of the sizes of the first `lengths[0]` items, of the next `lengths[1]`, and so on."""
    if isinstance(size, int):
        return lengths * size
    running = np.concatenate((np.zeros(1, np.int64), np.cumsum(size)))
    ends = np.cumsum(lengths)
    result: Ints = running[ends] - running[ends - lengths]
    return result


def check_tags(m: Measured, at: Ints, body: Bytes) -> bool:
    """True if every union tag of the column is exactly that of its branch. `at`: where each row's value begins."""
    node = m.node
    if not node.has_tags:
        return True
    if node.union_size:
        tags = body[at]
        if m.valid is None:
            if not (tags == node.value_tag).all():
                return False
        elif not (tags == np.where(m.valid, node.value_tag, node.null_tag)).all():
            return False
        at = at + 1 if m.valid is None else at[m.valid] + 1
    if node.kind == "record":
        return _check_in_order(m.inner, at, body)
    if m.lengths is None:
        return True
    # Items of arrays: behind the count, back to back.
    some = m.lengths > 0
    first = (at + sizes_of(m.lengths))[some]
    counts = m.lengths[some]
    each = np.broadcast_to(np.asarray(sum((p.size for p in m.inner), start=0), np.int64), (int(counts.sum()),))
    before = np.cumsum(each) - each
    group = np.cumsum(counts) - counts
    starts = before + np.repeat(first - (before[group] if len(group) else 0), counts)
    return _check_in_order(m.inner, starts, body)


def _check_in_order(parts: tuple[Measured, ...], at: Ints, body: Bytes) -> bool:
    for part in parts:
        if not check_tags(part, at, body):
            return False
        at = at + part.size
    return True
