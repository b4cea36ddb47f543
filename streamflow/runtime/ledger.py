"""The ledger: what became of every row, one record per commit in the same transaction. `audit` adds it up.

Each row that enters a node has one fate; rows leave a node as children of rows that came in, or out of state:

    rows_in + failed_from_state = forwarded + filtered + absorbed + waiting + dead_lettered + to_error_port + continued
                                  + cancelled + timed_out
    rows_out = children + emitted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.avro_values import AvroValue

VERSION: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCounts:
    """Records of one input partition, handed to the stage as rows of node `node`.

    records = rows + markers + dead_lettered + continued. `range` may hold more offsets than records: compaction and
    transactions leave gaps. For a source that is no topic, `at` is the trigger's topic and offsets count what was read.
    """

    node: str
    at: TopicPartition
    range: OffsetRange
    records: int
    rows: int
    markers: int = 0
    dead_lettered: int = 0  # did not decode, or has no key or time
    continued: int = 0  # the same under policy `continue`


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCounts:
    """Rows of one node. `ports`: rows out by output port, `error` included where it is wired."""

    node: str
    rows_in: int = 0
    forwarded: int = 0  # rows that left at least one child
    filtered: int = 0
    absorbed: int = 0  # kept in state
    waiting: int = 0  # parked until slow work outside is done
    dead_lettered: int = 0
    to_error_port: int = 0
    continued: int = 0
    cancelled: int = 0  # its execution was; such rows may leave by the error port as well, to be compensated
    timed_out: int = 0  # its execution has had its time; the same
    rows_out: int = 0  # but for the error port
    emitted: int = 0  # rows out that came from state
    failed_from_state: int = 0  # of the rows that failed or ended, those that had been absorbed before
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def children(self) -> int:
        return self.rows_out - self.emitted

    @property
    def fates(self) -> int:
        failed = self.dead_lettered + self.to_error_port + self.continued
        return self.forwarded + self.filtered + self.absorbed + self.waiting + failed + self.cancelled + self.timed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkCounts:
    """Rows and markers written to one partition of a topic behind node `node`."""

    node: str
    at: TopicPartition
    rows: int
    markers: int = 0
    dead_lettered: int = 0  # did not encode, or the topic would have refused them


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecord:
    """One commit of one task. `dead_letters`: records written to the dead letter topic."""

    stage: str
    partition: int
    sources: tuple[SourceCounts, ...] = ()
    nodes: tuple[NodeCounts, ...] = ()
    sinks: tuple[SinkCounts, ...] = ()
    dead_letters: int = 0

    def encode(self) -> bytes:
        """The record's value. Raises CodecError beyond the size of a record."""
        return _VALUE.encode(
            {
                "stage": self.stage,
                "partition": self.partition,
                "sources": [
                    {**_at(s.at), "first": s.range.first, "end": s.range.end}
                    | {name: getattr(s, name) for name in _SOURCE_COUNTS}
                    for s in self.sources
                ],
                "nodes": [{name: getattr(n, name) for name in (*_NODE_COUNTS, "ports")} for n in self.nodes],
                "sinks": [{**_at(s.at)} | {name: getattr(s, name) for name in _SINK_COUNTS} for s in self.sinks],
                "dead_letters": self.dead_letters,
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> LedgerRecord:
        """Raises CodecError for bytes that are no ledger record."""
        fields = _VALUE.decode(value)
        return cls(
            stage=fields["stage"],
            partition=fields["partition"],
            sources=tuple(
                SourceCounts(
                    at=_place(s), range=OffsetRange(s["first"], s["end"]), **{name: s[name] for name in _SOURCE_COUNTS}
                )
                for s in fields["sources"]
            ),
            nodes=tuple(NodeCounts(**n) for n in fields["nodes"]),
            sinks=tuple(SinkCounts(at=_place(s), **{name: s[name] for name in _SINK_COUNTS}) for s in fields["sinks"]),
            dead_letters=fields["dead_letters"],
        )


_SOURCE_COUNTS = ("node", "records", "rows", "markers", "dead_lettered", "continued")
_SINK_COUNTS = ("node", "rows", "markers", "dead_lettered")
_NODE_COUNTS = (
    "node", "rows_in", "forwarded", "filtered", "absorbed", "waiting",
    "dead_lettered", "to_error_port", "continued", "cancelled", "timed_out", "rows_out", "emitted", "failed_from_state",
)  # fmt: skip


def _at(at: TopicPartition) -> dict[str, Any]:
    return {"topic": at.topic, "topic_partition": at.partition}


def _place(fields: Mapping[str, Any]) -> TopicPartition:
    return TopicPartition(fields["topic"], fields["topic_partition"])


def _record(name: str, doc: str, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    named = [{"name": n, "type": t} for n, t in fields]
    return {"type": "record", "name": name, "namespace": "streamflow", "doc": doc, "fields": named}


def _counts(names: tuple[str, ...]) -> list[tuple[str, Any]]:
    return [(name, "string" if name == "node" else "long") for name in names]


_PLACE: list[tuple[str, Any]] = [("topic", "string"), ("topic_partition", "int")]
_SOURCE = _record(
    "SourceCounts",
    "Records of an input partition: records = rows + markers + dead_lettered + continued.",
    [*_PLACE, ("first", "long"), ("end", "long"), *_counts(_SOURCE_COUNTS)],
)
_NODE = _record(
    "NodeCounts",
    "Rows of a node: rows_in + failed_from_state = forwarded + filtered + absorbed + waiting + dead_lettered + "
    "to_error_port + continued + cancelled + timed_out; rows_out = children + emitted.",
    [*_counts(_NODE_COUNTS), ("ports", {"type": "map", "values": "long"})],
)
_SINK = _record("SinkCounts", "Rows and markers written to a partition of a topic.", [*_PLACE, *_counts(_SINK_COUNTS)])
SCHEMA: Final = _record(
    "Ledger",
    "What became of the rows of one commit of one task; each value begins with its version as an Avro int.",
    [
        ("stage", "string"),
        ("partition", "int"),
        ("sources", {"type": "array", "items": _SOURCE}),
        ("nodes", {"type": "array", "items": _NODE}),
        ("sinks", {"type": "array", "items": _SINK}),
        ("dead_letters", "long"),
    ],
)
_VALUE = AvroValue(SCHEMA, version=VERSION)
