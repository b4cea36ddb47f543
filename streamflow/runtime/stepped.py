"""What one step of a task made, until the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.codecs import BadRecord
from streamflow.model.batch import POSITION, ROW, Batch
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.emit import SinkRows, Writes
from streamflow.sdk.log import RecordBatch


@dataclass(slots=True)
class FailedRows:
    """Rows for the dead letter topic, with where the records stand that they came from."""

    rows: Batch
    offsets: pl.Series  # Int64, null where no record of this step stands for the row (it came out of state)
    inputs: NDArray[np.int64]  # which of the step's inputs; anything where the offset is null


@dataclass(slots=True, kw_only=True)
class Taken:
    """What a step took of one input, and what became of it at once."""

    node: str  # whose rows these are
    at: TopicPartition
    range: OffsetRange
    rows_in: int
    markers: int
    rows: int = 0  # of rows_in, those handed to the graph
    dead: int = 0  # records that did not decode, or have no key or time
    continued: int = 0  # the same under policy `continue`
    bad: list[BadRecord] = field(default_factory=list)  # records that did not decode
    batches: Sequence[RecordBatch] = ()  # where its records were read, as long as a dead letter may need them


@dataclass(frozen=True, slots=True)
class Stop:
    """The first record that must not be committed. `rank`: where it stands in the step."""

    at: TopicPartition
    offset: int
    text: str
    rank: tuple[int, int]


@dataclass(slots=True)
class Stepped:
    """What one step of a task made, ready to be committed."""

    taken: list[Taken] = field(default_factory=list)  # nothing in a step without records
    writes: Writes = field(default_factory=dict)
    idle: tuple[TopicPartition, ...] = ()  # inputs held to be idle from this step on
    sinks: dict[tuple[str, TopicPartition], SinkRows] = field(default_factory=dict)
    dead: list[FailedRows] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(b.body) for batches in self.writes.values() for b in batches)

    @property
    def rows_in(self) -> int:
        return sum(taken.rows_in for taken in self.taken)

    @property
    def failed(self) -> bool:
        """Whether something of it goes to the dead letter topic."""
        return bool(self.dead) or any(taken.bad for taken in self.taken)


class Places:
    """Where the rows of a step stand: by `@row`, the input and the offset."""

    def __init__(self, arrived: Sequence[Arrived], here: tuple[TopicPartition, int]) -> None:
        """`here`: what stands for rows that no record stands for."""
        self._inputs, self._here = [one.at for one in arrived], here
        offsets = [one.frame[POSITION].to_numpy() for one in arrived]
        ranks = [np.arange(len(own)) if one.order is None else one.order.to_numpy() for one, own in
                 zip(arrived, offsets, strict=True)]  # fmt: skip
        count = sum(len(own) for own in offsets)
        self._offsets, self._input = np.empty(count, np.int64), np.zeros(count, np.int64)
        for number, (at, own) in enumerate(zip(ranks, offsets, strict=True)):
            self._offsets[at], self._input[at] = own, number

    def __len__(self) -> int:
        return len(self._offsets)

    def of(self, row: int) -> tuple[TopicPartition, int]:
        """Input and offset of a row."""
        if row >= len(self):
            return self._here
        return self._inputs[self._input[row]], int(self._offsets[row])

    def located(self, rows: Batch) -> FailedRows:
        index = rows.frame[ROW].to_numpy().astype(np.int64)
        known = index < len(self)
        if not len(self):
            nothing = pl.Series(POSITION, [None] * len(rows), dtype=pl.Int64)
            return FailedRows(rows, nothing, np.zeros(len(rows), np.int64))
        safe = np.where(known, index, 0)
        offsets = pl.Series(POSITION, self._offsets[safe])
        if not known.all():
            offsets = offsets.zip_with(pl.Series(known), pl.Series([None], dtype=pl.Int64))
        return FailedRows(rows, offsets, self._input[safe])
