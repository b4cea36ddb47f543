"""Records of executions: what `execution_counts` found, as Avro records keyed by execution.

Few executions of a step differ in more than their ids: most have taken the same way with as many rows. All that they
have in common is encoded once for each such pattern, and its bytes stand behind each id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.codecs.api import RECORDS_MAX, SIZE_BYTES_MAX
from streamflow.codecs.avrocodec import AvroWriter
from streamflow.codecs.envelope import HEADER_SIZE
from streamflow.codecs.envelope_encode import Rows, cuts, encode, header_pieces, key_pieces, times
from streamflow.codecs.pieces import Piece, per_row
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.operators.partition import partition_for
from streamflow.runtime.emit import Writes
from streamflow.runtime.execution_counts import Counts, Ints
from streamflow.runtime.execution_tails import HEAD, SPEC, Moment, Tails
from streamflow.sdk.errors import CodecError
from streamflow.topology.plan import StagePlan

MESSAGE_CHARS_MAX: Final = 500
_TAIL: Final = "@tail"
_TABLE_MAX: Final = 1 << 20
_HEAD: Final = AvroWriter(replace(SPEC, schema=HEAD), None)


class ExecutionWriter:
    """Encodes records of executions for one task."""

    def __init__(
        self, stage: StagePlan, partition: int, *, triggers: frozenset[str], waits: frozenset[str],
        keeps: frozenset[str], bounded: bool, partitions: int, batch_bytes_max: int,
    ) -> None:  # fmt: skip
        """`triggers`, `waits`, `keeps`, `bounded`: see `executions.Watch`. `partitions`: of the topic."""
        self._topic, self._partitions = stage.executions, partitions
        self._size_bytes_max = min(batch_bytes_max, SIZE_BYTES_MAX)
        self._tails = Tails(stage, partition, triggers=triggers, waits=waits, keeps=keeps, bounded=bounded)

    def encode(self, counts: Counts, moment: Moment) -> Writes:
        """One record for each execution, all of an execution in one partition."""
        error, errors = _numbered(counts)
        sampled = np.zeros(len(counts), np.int64)
        sampled[list(counts.samples)] = np.arange(1, len(counts.samples) + 1)
        columns = [*counts.rows.values(), counts.woken.astype(np.int64), counts.tasks, error, sampled]
        first, pattern = patterns(columns, len(counts))
        tails = _Values(self._tails.encode(_picked(counts, first), errors[error[first]], moment))
        keys = counts.executions.cast(pl.Binary)
        head = pl.DataFrame([counts.executions.alias("execution"), pl.Series(_TAIL, pattern), keys.alias(KEY)])
        head = head.with_columns(pl.lit(max(moment.now_ms, 0)).alias(TS))
        target = partition_for(keys, self._partitions)
        order = np.argsort(target, kind="stable")
        return self._written(head[order], target[order], tails)

    def _written(self, frame: pl.DataFrame, target: NDArray[np.int32], tails: _Values) -> Writes:
        """Record batches of all partitions, encoded in one go. `target`: the partition of each row, ascending."""
        rows = Rows(frame.height, key_pieces(frame), times(frame), tails.pieces(frame), header_pieces(frame))
        sizes = per_row(rows.sizes_max(RECORDS_MAX), rows.count)
        if int(sizes.max()) > self._size_bytes_max - HEADER_SIZE:
            one = frame["execution"][int(sizes.argmax())]
            raise CodecError(
                f"a record of execution {one!r} takes {sizes.max()} bytes, more than its topic takes.",
                mend="Ask for fewer samples, or raise max.message.bytes of the topic.",
            )
        ends = np.searchsorted(target, np.arange(self._partitions), side="right")
        at, whose, begin = [0], list[int](), 0
        for p, end in enumerate(ends.tolist()):
            found = cuts(sizes[begin:end], end - begin, RECORDS_MAX, self._size_bytes_max)[1:]
            at += [begin + cut for cut in found]
            whose += [p] * len(found)
            begin = end
        writes: Writes = {}
        for p, made in zip(whose, encode(rows, at, opaque=False), strict=True):
            writes.setdefault(TopicPartition(self._topic, p), []).append(made)
        return writes


def _picked(counts: Counts, which: Ints) -> Counts:
    """Some of the executions, without their errors."""
    place = {int(number): i for i, number in enumerate(which) if int(number) in counts.samples}
    return Counts(
        executions=counts.executions.gather(which),
        rows={name: rows[which] for name, rows in counts.rows.items()},
        woken=counts.woken[which],
        errors=counts.errors.clear(),
        tasks=counts.tasks[which],
        samples={i: counts.samples[number] for number, i in place.items()},
    )


def _numbered(counts: Counts) -> tuple[Ints, pl.DataFrame]:
    """(the number of each execution's first error, the distinct errors by number); number 0 is none."""
    errors = counts.errors.select(
        pl.col(ERROR_CODE).alias("error_code"),
        pl.col(ERROR_MESSAGE).str.head(MESSAGE_CHARS_MAX).alias("error_message"),
        pl.col(ERROR_NODE).alias("error_node"),
    )
    none = pl.DataFrame(schema=errors.schema).clear(1)
    number = np.zeros(len(counts), np.int64)
    if not len(errors):
        return number, none
    distinct = errors.unique(maintain_order=True).with_row_index("@n", offset=1)
    found = errors.join(distinct, on=errors.columns, how="left", nulls_equal=True, maintain_order="left")["@n"]
    number[counts.errors["number"].to_numpy()] = found.to_numpy()
    return number, pl.concat([none, distinct.drop("@n")])


def patterns(columns: Sequence[Ints], n: int) -> tuple[Ints, Ints]:
    """(a row of each distinct combination of the columns, the number of that of each row). Columns hold n numbers."""
    code, radix = np.zeros(n, np.int64), 1
    for column in columns:
        low = int(column.min()) if n else 0
        width = (int(column.max()) if n else 0) - low + 1
        if width == 1:
            continue
        if radix * width >= 1 << 62:
            seen, code = np.unique(code, return_inverse=True)
            radix = len(seen)
        code, radix = code * width + (column - low), radix * width
    if radix <= _TABLE_MAX:  # a table is faster than sorting
        number = np.full(radix, -1, np.int64)
        number[code] = 0
        present = np.flatnonzero(number == 0)
        number[present] = np.arange(len(present))
        found = number[code]
        first = np.zeros(len(present), np.int64)
        first[found[::-1]] = np.arange(n - 1, -1, -1)
        return first, found
    _, first, found = np.unique(code, return_index=True, return_inverse=True)
    return first, found


class _Values:
    """Values of records: the id of each row and, behind it, the bytes of its pattern."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._sizes = np.array([len(p) for p in parts], np.int64)

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        tail = frame[_TAIL].to_numpy()
        data = b"".join(map(self._parts.__getitem__, tail.tolist()))
        return [*_HEAD.pieces(frame), Piece(self._sizes[tail], data=np.frombuffer(data, np.uint8))]
