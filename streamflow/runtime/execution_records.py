"""Records of executions: what `execution_counts` found, as Avro records keyed by execution.

Few executions of a step differ in more than their ids: most have taken the same way with as many rows. All that they
have in common is encoded once for each such pattern, and its bytes stand behind each id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.codecs import CodecSpec
from streamflow.codecs.api import SIZE_BYTES_MAX
from streamflow.codecs.avro_check import BadRow
from streamflow.codecs.avrocodec import AvroWriter
from streamflow.codecs.encoding import BatchEncoder
from streamflow.codecs.pieces import Piece, assemble, per_row, total_size
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.model.types import Schema, frame_schema
from streamflow.operators.partition import partition_for
from streamflow.runtime.emit import Writes
from streamflow.runtime.execution_counts import Counter, Counts, Ints
from streamflow.sdk.errors import CodecError
from streamflow.topology.envelopes import EXECUTION
from streamflow.topology.plan import StagePlan

SPEC: Final = CodecSpec(format="avro", schema=EXECUTION, name=EXECUTION.name)
MESSAGE_CHARS_MAX: Final = 500
_OWN: Final = ("execution",)  # what differs within a pattern
_TAIL: Final = "@tail"
_NODE_COUNTERS: Final[tuple[Counter, ...]] = (
    "rows_in", "rows_out", "filtered", "absorbed", "emitted", "continued", "to_error_port", "dead_lettered",
)  # fmt: skip
_FEW: Final = 1 << 20


def _part(own: bool) -> Schema:
    fields = tuple(f for f in EXECUTION.fields if (f.name in _OWN) is own)
    return replace(EXECUTION, fields=fields)


_HEAD_SCHEMA, _TAIL_SCHEMA = _part(True), _part(False)
_HEAD: Final = AvroWriter(replace(SPEC, schema=_HEAD_SCHEMA), None)
_REST: Final = AvroWriter(replace(SPEC, schema=_TAIL_SCHEMA), None)
_DTYPES: Final = frame_schema(EXECUTION)


@dataclass(frozen=True, slots=True)
class Moment:
    """Which step of a task is told of."""

    at: TopicPartition
    offset: int
    now_ms: int


class ExecutionWriter:
    """Encodes records of executions for one task."""

    def __init__(
        self, stage: StagePlan, partition: int, *, triggers: frozenset[str], waits: frozenset[str],
        keeps: frozenset[str], bounded: bool, partitions: int, batch_bytes_max: int,
    ) -> None:  # fmt: skip
        """`triggers`, `waits`, `keeps`, `bounded`: see `executions.Watch`. `partitions`: of the topic."""
        self._stage, self._partition, self._bounded = stage, partition, bounded
        self._triggers, self._waits, self._keeps = triggers, waits, keeps
        inputs = [i.node for i in stage.inputs if i.node in triggers]
        self._nodes = list(dict.fromkeys([*inputs, *(n.id for n in stage.nodes)]))
        self._partitions, self._size_bytes_max = partitions, min(batch_bytes_max, SIZE_BYTES_MAX)

    def encode(self, counts: Counts, moment: Moment) -> Writes:
        """One record for each execution, all of an execution in one partition."""
        error, errors = _numbered(counts)
        columns = [*counts.rows.values(), counts.woken.astype(np.int64), counts.tasks, error]
        first, pattern = patterns(columns, len(counts))
        frame = self._tails({k: v[first] for k, v in counts.rows.items()}, counts.woken[first], counts.tasks[first])
        frame = frame.hstack(errors[error[first]])
        tails = _Tails.of(self._placed(frame, moment))
        keys = counts.executions.cast(pl.Binary)
        head = pl.DataFrame([counts.executions.alias("execution"), pl.Series(_TAIL, pattern), keys.alias(KEY)])
        head = head.with_columns(pl.lit(max(moment.now_ms, 0)).alias(TS))
        encode = BatchEncoder(tails)
        target, writes = partition_for(keys, self._partitions), Writes()
        for p in np.unique(target).tolist():
            rows = head if self._partitions == 1 else head.filter(pl.Series(target == p))
            done = encode.encode(rows, size_bytes_max=self._size_bytes_max)
            if done.bad:
                raise CodecError(f"record of execution {rows['execution'][done.bad[0].row]!r}: {done.bad[0].message}")
            writes[TopicPartition(self._stage.executions, p)] = done.batches
        return writes

    def _placed(self, frame: pl.DataFrame, moment: Moment) -> pl.DataFrame:
        """What all records of a step have in common."""
        return frame.with_columns(
            stage=pl.lit(self._stage.id),
            partition=pl.lit(self._partition, dtype=pl.Int32),
            topic=pl.lit(moment.at.topic),
            topic_partition=pl.lit(moment.at.partition, dtype=pl.Int32),
            offset=pl.lit(moment.offset, dtype=pl.Int64),
            at=pl.lit(moment.now_ms, dtype=pl.Int64).cast(_DTYPES["at"]),
            bounded=pl.lit(self._bounded),
            samples=pl.lit(pl.Series([[]], dtype=_DTYPES["samples"])).first(),
        )

    def _tails(self, rows: Mapping[tuple[str, Counter], Ints], woken: NDArray[np.bool_], tasks: Ints) -> pl.DataFrame:
        """One row for each pattern."""
        n = len(woken)

        def total(counter: Counter, of: frozenset[str] | None = None) -> Ints:
            found = [v for (place, c), v in rows.items() if c == counter and (of is None or place in of)]
            return np.sum(found, axis=0, dtype=np.int64) if found else np.zeros(n, np.int64)

        by_trigger = {place: v for (place, c), v in rows.items() if c == "begun"}
        trigger = pl.Series("trigger", [""], dtype=pl.String).new_from_index(0, n)
        for node, begun in by_trigger.items():
            trigger = trigger.zip_with(pl.Series(begun == 0), pl.Series([node]))
        waiting = total("absorbed", self._waits) - total("emitted", self._waits)
        kept = total("absorbed", self._keeps) if self._bounded else np.zeros(n, np.int64)
        return pl.DataFrame(
            [
                trigger.alias("trigger"),
                pl.Series("begun", total("begun")),
                pl.Series("received", total("received")),
                pl.Series("sent", total("sent")),
                pl.Series("waiting", waiting),
                pl.Series("kept", kept),
                pl.Series("failed", total("dead_lettered")),
                pl.Series("woken", woken),
                pl.Series("ended", tasks > 0),
                pl.Series("tasks", tasks.astype(np.int32)),
                self._edges(rows, n),
                self._steps(rows, n, tasks > 0),
            ]
        )

    def _edges(self, rows: Mapping[tuple[str, Counter], Ints], n: int) -> pl.Series:
        topics = list(dict.fromkeys(place for place, c in rows if c in ("received", "sent")))
        both: tuple[Counter, ...] = ("received", "sent")
        table: dict[str, NDArray[np.int64]] = {c: _table(rows, topics, c, n) for c in both}
        return _lists("edges", "topic", topics, table, n)

    def _steps(self, rows: Mapping[tuple[str, Counter], Ints], n: int, ended: NDArray[np.bool_]) -> pl.Series:
        table: dict[str, NDArray[np.int64]] = {c: _table(rows, self._nodes, c, n) for c in _NODE_COUNTERS}
        wait = np.array([i in self._waits for i in self._nodes])
        keep = np.array([i in self._keeps and self._bounded for i in self._nodes])
        left = (wait & (table["absorbed"] > table["emitted"])) | (keep & (table["absorbed"] > 0) & ~ended[:, None])
        status = np.where(table["dead_lettered"] > 0, "failed", np.where(left, "waiting", "completed"))
        return _lists("nodes", "node", self._nodes, table, n, {"status": status})


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


def _table(
    rows: Mapping[tuple[str, Counter], Ints], places: Sequence[str], counter: Counter, n: int
) -> NDArray[np.int64]:
    """Counts by pattern and place."""
    table = np.zeros((n, len(places)), np.int64)
    for i, place in enumerate(places):
        if (found := rows.get((place, counter))) is not None:
            table[:, i] = found
    return table


def _lists(
    name: str, of: str, places: Sequence[str], table: Mapping[str, NDArray[np.int64]], n: int,
    more: Mapping[str, NDArray[np.str_]] | None = None,
) -> pl.Series:  # fmt: skip
    """A list for each pattern: its places that have a count, in their order."""
    some = np.zeros((n, len(places)), np.bool_)
    for counted in table.values():
        some |= counted != 0
    at, place = np.nonzero(some)
    dtype = _DTYPES[name]
    assert isinstance(dtype, pl.List)
    assert isinstance(dtype.inner, pl.Struct)
    columns = {of: pl.Series(list(places), dtype=pl.String).gather(place)}
    columns |= {c: pl.Series(counted[at, place]) for c, counted in table.items()}
    columns |= {c: pl.Series(values[at, place].tolist(), dtype=pl.String) for c, values in (more or {}).items()}
    flat = pl.DataFrame(columns).select(pl.col(f.name).cast(f.dtype) for f in dtype.inner.fields)
    grouped = pl.DataFrame({"@at": at, name: flat.to_struct()}).group_by("@at", maintain_order=True).agg(name)
    every = pl.DataFrame({"@at": np.arange(n)}).join(grouped, on="@at", how="left", maintain_order="left")
    return every[name].fill_null(pl.Series([[]], dtype=dtype))


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
    if radix <= _FEW:  # a table is faster than sorting
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
    """A `ValueWriter` whose values are the own fields of each row and, behind them, the bytes of its pattern."""

    opaque = False

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._sizes = np.array([len(p) for p in parts], np.int64)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> _Tails:
        frame, bad = _REST.conform(frame)
        assert not bad, bad
        pieces = _REST.pieces(frame)
        data = assemble(pieces, frame.height).tobytes()
        ends = np.cumsum(per_row(total_size(pieces), frame.height)).tolist()
        return cls([data[a:b] for a, b in zip([0, *ends], ends, strict=False)])

    def conform(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow]]:
        return _HEAD.conform(frame)

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        tail = frame[_TAIL].to_numpy()
        data = b"".join(map(self._parts.__getitem__, tail.tolist()))
        return [*_HEAD.pieces(frame), Piece(self._sizes[tail], data=np.frombuffer(data, np.uint8))]
