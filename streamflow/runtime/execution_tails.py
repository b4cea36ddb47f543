"""What records of executions hold behind the id: written once for each pattern of counts.

Few patterns, as in most steps, are written one by one, which takes less than putting them into columns; many, where
each execution has counts of its own, by the columnar writer. The bytes are the same.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import fastavro
import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.codecs import CodecSpec
from streamflow.codecs.avrocodec import AvroWriter
from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.codecs.pieces import assemble, per_row, total_size
from streamflow.model.positions import TopicPartition
from streamflow.model.types import frame_schema
from streamflow.runtime.execution_counts import Counter, Counts, Ints
from streamflow.topology.envelopes import EXECUTION
from streamflow.topology.plan import StagePlan

SPEC: Final = CodecSpec(format="avro", schema=EXECUTION, name=EXECUTION.name)
_TAIL: Final = replace(EXECUTION, fields=EXECUTION.fields[4:])  # behind the id and what headers tell
_PLAIN: Final = fastavro.parse_schema(dict(schema_to_avro(_TAIL)))
_COLUMNAR: Final = AvroWriter(replace(SPEC, schema=_TAIL), None)
_DTYPES: Final = frame_schema(EXECUTION)
_FEW: Final = 48
_NODE_COUNTERS: Final[tuple[Counter, ...]] = (
    "rows_in", "rows_out", "filtered", "absorbed", "emitted", "continued", "to_error_port", "dead_lettered",
    "cancelled", "timed_out", "released",
)  # fmt: skip
_EDGE_COUNTERS: Final[tuple[Counter, ...]] = ("received", "sent")


@dataclass(frozen=True, slots=True)
class Moment:
    """Which step of a task is told of."""

    at: TopicPartition
    offset: int
    now_ms: int


class Tails:
    """Encodes all but the ids of records, and what headers tell of them, for one task."""

    def __init__(
        self, stage: StagePlan, partition: int, *, triggers: frozenset[str], waits: frozenset[str],
        keeps: frozenset[str], bounded: bool, environment: str | None = None,
    ) -> None:  # fmt: skip
        """See `ExecutionWriter`."""
        self._environment = environment
        self._stage, self._partition, self._bounded = stage, partition, bounded
        self._waits, self._keeps = waits, keeps if bounded else frozenset[str]()
        inputs = [i.node for i in stage.inputs if i.node in triggers]
        self._nodes = list(dict.fromkeys([*inputs, *(n.id for n in stage.nodes)]))

    def encode(self, counts: Counts, errors: pl.DataFrame, moment: Moment) -> list[bytes]:
        """The bytes of each entry of `counts`. `errors`: the first error of each, nulls where there is none."""
        common = {
            "environment": self._environment,
            "stage": self._stage.id,
            "partition": self._partition,
            "topic": moment.at.topic,
            "topic_partition": moment.at.partition,
            "offset": moment.offset,
            "at": moment.now_ms,
            "bounded": self._bounded,
        }
        if len(counts) <= _FEW:
            told = zip(self._plain(counts), errors.iter_rows(named=True), strict=True)
            return [_written({**common, **fields, **error}) for fields, error in told]
        frame = self._columns(counts).hstack(errors)
        times = {"at": pl.lit(moment.now_ms, dtype=pl.Int64).cast(_DTYPES["at"])}
        rest = {name: pl.lit(value, dtype=_DTYPES[name]) for name, value in common.items() if name != "at"}
        return _split(frame.with_columns(**rest, **times))

    def _plain(self, counts: Counts) -> list[dict[str, Any]]:
        """Each entry as values of its fields, but for those of the step and of errors."""
        topics = _topics(counts)
        every = []
        by_place: list[dict[str, dict[str, int]]] = [{} for _ in range(len(counts))]
        for (place, counter), rows in counts.rows.items():
            for i in np.flatnonzero(rows).tolist():
                by_place[i].setdefault(place, {})[counter] = int(rows[i])
        for i, places in enumerate(by_place):
            ended = bool(counts.tasks[i])

            def total(counter: str, of: frozenset[str] | None = None, places: Any = places) -> int:
                return sum(c.get(counter, 0) for place, c in places.items() if of is None or place in of)

            begun = [place for place, c in places.items() if c.get("begun")]
            every.append(
                {
                    "samples": counts.samples.get(i, []),
                    "trigger": begun[0] if begun else "",
                    "begun": total("begun"),
                    "received": total("received"),
                    "sent": total("sent"),
                    "waiting": total("absorbed", self._waits) - total("released", self._waits),
                    "kept": total("absorbed", self._keeps),
                    "failed": total("dead_lettered"),
                    "resumed": total("resumed"),
                    "cancelled": total("cancelled"),
                    "timed_out": total("timed_out"),
                    "woken": bool(counts.woken[i]),
                    "ended": ended,
                    "tasks": int(counts.tasks[i]),
                    "edges": [
                        {"topic": t, **{c: places[t].get(c, 0) for c in _EDGE_COUNTERS}} for t in topics if t in places
                    ],
                    "nodes": [self._node(n, places[n], over=ended) for n in self._nodes if n in places],
                }
            )
        return every

    def _node(self, node: str, rows: Mapping[str, int], *, over: bool) -> dict[str, Any]:
        counted: dict[str, int] = {c: rows.get(c, 0) for c in _NODE_COUNTERS}
        counted["cancelled"] += rows.get("outrun", 0)  # at a node; of the execution it says nothing
        kept = node in self._keeps and not over and counted["absorbed"] > 0
        left = counted["absorbed"] - counted["released"]
        waits = kept or (node in self._waits and left > 0)
        ended = "cancelled" if counted["cancelled"] else "timed_out" if counted["timed_out"] else "completed"
        status = "failed" if counted["dead_lettered"] else "waiting" if waits else ended
        return {"node": node, "status": status, **counted}

    def _columns(self, counts: Counts) -> pl.DataFrame:
        """The same in columns."""
        rows, tasks, n = counts.rows, counts.tasks, len(counts)

        def total(counter: Counter, of: frozenset[str] | None = None) -> Ints:
            found = [v for (place, c), v in rows.items() if c == counter and (of is None or place in of)]
            return np.sum(found, axis=0, dtype=np.int64) if found else np.zeros(n, np.int64)

        by_trigger = {place: v for (place, c), v in rows.items() if c == "begun"}
        trigger = pl.Series("trigger", [""], dtype=pl.String).new_from_index(0, n)
        for node, begun in by_trigger.items():
            trigger = trigger.zip_with(pl.Series(begun == 0), pl.Series([node]))
        waiting = total("absorbed", self._waits) - total("released", self._waits)
        return pl.DataFrame(
            [
                trigger.alias("trigger"),
                pl.Series("begun", total("begun")),
                pl.Series("received", total("received")),
                pl.Series("sent", total("sent")),
                pl.Series("waiting", waiting),
                pl.Series("kept", total("absorbed", self._keeps)),
                pl.Series("failed", total("dead_lettered")),
                pl.Series("resumed", total("resumed")),
                pl.Series("cancelled", total("cancelled")),
                pl.Series("timed_out", total("timed_out")),
                pl.Series("woken", counts.woken),
                pl.Series("ended", tasks > 0),
                pl.Series("tasks", tasks.astype(np.int32)),
                pl.Series("samples", [counts.samples.get(i, []) for i in range(n)], dtype=_DTYPES["samples"]),
                self._edges(counts),
                self._steps(rows, n, tasks > 0),
            ]
        )

    def _edges(self, counts: Counts) -> pl.Series:
        topics, n = _topics(counts), len(counts)
        table: dict[str, NDArray[np.int64]] = {c: _table(counts.rows, topics, c, n) for c in _EDGE_COUNTERS}
        return _lists("edges", "topic", topics, table, n)

    def _steps(self, rows: Mapping[tuple[str, Counter], Ints], n: int, ended: NDArray[np.bool_]) -> pl.Series:
        table: dict[str, NDArray[np.int64]] = {c: _table(rows, self._nodes, c, n) for c in _NODE_COUNTERS}
        table["cancelled"] = table["cancelled"] + _table(rows, self._nodes, "outrun", n)
        wait = np.array([i in self._waits for i in self._nodes])
        keep = np.array([i in self._keeps for i in self._nodes])
        waits = wait & (table["absorbed"] > table["released"])
        left = waits | (keep & (table["absorbed"] > 0) & ~ended[:, None])
        status = np.select(
            [table["dead_lettered"] > 0, left, table["cancelled"] > 0, table["timed_out"] > 0],
            ["failed", "waiting", "cancelled", "timed_out"],
            "completed",
        )
        return _lists("nodes", "node", self._nodes, table, n, {"status": status})


def _topics(counts: Counts) -> list[str]:
    """Topics to and from other stages, in the order in which they were counted."""
    return list(dict.fromkeys(place for place, counter in counts.rows if counter in _EDGE_COUNTERS))


def _written(fields: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, _PLAIN, fields)
    return buffer.getvalue()


def _split(frame: pl.DataFrame) -> list[bytes]:
    """The bytes of each row."""
    frame, bad = _COLUMNAR.conform(frame)
    assert not bad, bad
    pieces = _COLUMNAR.pieces(frame)
    data = assemble(pieces, frame.height).tobytes()
    ends = np.cumsum(per_row(total_size(pieces), frame.height)).tolist()
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


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
