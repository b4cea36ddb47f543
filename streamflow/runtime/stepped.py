"""What one step of a task made, until the commit."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from streamflow.codecs import BadRecord, Decoded
from streamflow.model.batch import POSITION, ROW, Batch
from streamflow.model.positions import TopicPartition
from streamflow.runtime.emit import SinkRows, Writes


@dataclass(slots=True)
class FailedRows:
    """Rows for the dead letter topic, with the offsets of the records that they came from (None: out of state)."""

    rows: Batch
    offsets: pl.Series  # Int64, null where no record of this step stands for the row


@dataclass(slots=True)
class Stepped:
    """What one step of a task made, ready to be committed."""

    node: str  # whose rows these are
    end_offset: int
    rows_in: int = 0
    writes: Writes = field(default_factory=dict)
    rows: int = 0  # of rows_in, those handed to the graph
    markers: int = 0
    idle: tuple[TopicPartition, ...] = ()  # inputs held to be idle from this step on
    source_dead: int = 0  # records that did not decode, or have no key or time
    source_continued: int = 0  # the same under policy `continue`
    sinks: dict[tuple[str, TopicPartition], SinkRows] = field(default_factory=dict)
    dead: list[FailedRows] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)  # records that did not decode
    stop_offset: int | None = None  # the first record that must not be committed
    stop_text: str = ""
    counted: bool = True  # False: another task gives account of these records, or this one has already

    @property
    def size_bytes(self) -> int:
        return sum(len(b.body) for batches in self.writes.values() for b in batches)


def located(rows: Batch, positions: pl.Series) -> FailedRows:
    index = rows.frame[ROW].cast(pl.Int64)
    known = index < len(positions)
    safe = pl.select(pl.when(known).then(index)).to_series()
    offsets = positions.gather(safe) if safe.null_count() == 0 else _gather(positions, safe)
    return FailedRows(rows, offsets.cast(pl.Int64))


def _gather(positions: pl.Series, index: pl.Series) -> pl.Series:
    values = [None if i is None else positions[i] for i in index.to_list()]
    return pl.Series(POSITION, values, dtype=pl.Int64)


def cut(decoded: Decoded, limit: int) -> Decoded:
    """Only what stands before offset `limit`."""
    return Decoded(
        frame=decoded.frame.filter(pl.col(POSITION) < limit),
        bad=[b for b in decoded.bad if b.offset < limit],
        end_offset=limit,
        markers=[m for m in decoded.markers if m.offset < limit],
    )
