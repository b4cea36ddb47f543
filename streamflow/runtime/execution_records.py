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
from streamflow.codecs.envelope_encode import Rows, cuts, encode, nullable_bytes
from streamflow.codecs.pieces import Piece, per_row, zero_byte
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE
from streamflow.model.positions import TopicPartition
from streamflow.operators.partition import partition_for
from streamflow.runtime.emit import Writes
from streamflow.runtime.execution_counts import Counts, Ints
from streamflow.runtime.execution_tails import SPEC, Moment, Tails
from streamflow.sdk.errors import CodecError
from streamflow.topology.envelopes import EXECUTION
from streamflow.topology.plan import StagePlan

MESSAGE_CHARS_MAX: Final = 500
_TABLE_MAX: Final = 1 << 20
_CONTEXT: Final = AvroWriter(replace(SPEC, schema=replace(EXECUTION, fields=EXECUTION.fields[1:4])), None)
_NO_CONTEXT: Final = bytes(3)  # three nulls


class ExecutionWriter:
    """Encodes records of executions for one task."""

    def __init__(
        self, stage: StagePlan, partition: int, *, triggers: frozenset[str], waits: frozenset[str],
        keeps: frozenset[str], bounded: bool, partitions: int, batch_bytes_max: int, environment: str | None = None,
    ) -> None:  # fmt: skip
        """`triggers`, `waits`, `keeps`, `bounded`: see `executions.Watch`. `partitions`: of the topic. `environment`:
        that of the workflow.
        """
        self._topic, self._partitions = stage.executions, partitions
        self._size_bytes_max = min(batch_bytes_max, SIZE_BYTES_MAX)
        self._tails = Tails(
            stage, partition, triggers=triggers, waits=waits, keeps=keeps, bounded=bounded, environment=environment
        )

    def encode(self, counts: Counts, moment: Moment) -> Writes:
        """One record for each execution, all of an execution in one partition."""
        error, errors = _numbered(counts)
        sampled = np.zeros(len(counts), np.int64)
        sampled[list(counts.samples)] = np.arange(1, len(counts.samples) + 1)
        columns = [*counts.rows.values(), counts.woken.astype(np.int64), counts.tasks, error, sampled]
        first, pattern = patterns(columns, len(counts))
        made = self._tails.encode(_picked(counts, first), errors[error[first]], moment)
        tails = _Tails(made if counts.context is not None else [_NO_CONTEXT + tail for tail in made])
        keys = counts.executions.cast(pl.Binary)
        target = partition_for(keys, self._partitions)
        order = np.argsort(target, kind="stable")
        behind = [tails.piece(pattern[order])]
        if counts.context is not None:
            behind = [*_CONTEXT.pieces(counts.context[order]), *behind]
        return self._written(keys[order], behind, target[order], max(moment.now_ms, 0))

    def _written(self, keys: pl.Series, behind: Sequence[Piece], target: NDArray[np.int32], at_ms: int) -> Writes:
        """Record batches of all partitions, encoded in one go. `keys`: ids. `target`: their partitions, ascending."""
        key = nullable_bytes(keys)  # as Avro writes the id, which a value begins with
        rows = Rows(len(keys), key, np.full(len(keys), at_ms, np.int64), [*key, *behind], [zero_byte(len(keys))])
        sizes = per_row(rows.sizes_max(RECORDS_MAX), rows.count)
        if int(sizes.max()) > self._size_bytes_max - HEADER_SIZE:
            one = keys[int(sizes.argmax())].decode()
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
        executions=counts.executions[which],
        rows={name: rows[which] for name, rows in counts.rows.items()},
        woken=counts.woken[which],
        errors=counts.errors[:0],
        tasks=counts.tasks[which],
        samples={i: counts.samples[number] for number, i in place.items()},
    )


def _numbered(counts: Counts) -> tuple[Ints, pl.DataFrame]:
    """(the number of each execution's first error, the distinct errors by number); number 0 is none."""
    fields = {"error_code": ERROR_CODE, "error_message": ERROR_MESSAGE, "error_node": ERROR_NODE}
    none = pl.DataFrame([pl.Series(name, [None], dtype=pl.String) for name in fields])
    number = np.zeros(len(counts), np.int64)
    if not len(counts.errors):
        return number, none
    distinct, found = _distinct(counts.errors.select(fields.values()))
    number[counts.errors["number"].to_numpy()] = found + 1
    cut = pl.col(ERROR_MESSAGE).str.head(MESSAGE_CHARS_MAX)
    told = distinct.select(
        (cut if column == ERROR_MESSAGE else pl.col(column)).alias(name) for name, column in fields.items()
    )
    return number, pl.concat([none, told])


def _distinct(rows: pl.DataFrame) -> tuple[pl.DataFrame, Ints]:
    """(the distinct rows, which of them each row is). Mostly few columns, or none, tell rows apart."""
    telling = [column.name for column in rows.iter_columns() if column.n_unique() > 1]
    if not telling:
        return rows[:1], np.zeros(len(rows), np.int64)
    first = rows.with_row_index("@first").select(pl.col("@first").first().over(telling)).to_series()
    places, found = np.unique(first.to_numpy(), return_inverse=True)
    return rows[places], found


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


class _Tails:
    """What stands in values behind the id: the bytes of each row's pattern."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._sizes = np.array([len(p) for p in parts], np.int64)

    def piece(self, pattern: Ints) -> Piece:
        data = b"".join(map(self._parts.__getitem__, pattern.tolist()))
        return Piece(self._sizes[pattern], data=np.frombuffer(data, np.uint8))
