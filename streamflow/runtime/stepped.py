"""What one step of a task made, until the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an item comes from that is given again: the node that it is given to, and its record, if there is one.

    `known`: the record's bytes are those that were taken.
    """

    node: str
    topic: str
    partition: int
    offset: int
    known: bool


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
    passed: list[BadRecord] = field(default_factory=list)  # the same under `continue`, where errors are told of
    batches: Sequence[RecordBatch] = ()  # where its records were read, as long as a dead letter may need them
    source: str = ""  # what ids of executions begin with, where items are executions and dead letters have to name them
    origins: Mapping[int, Origin] = field(default_factory=dict)  # by offset; of items that are given again


@dataclass(frozen=True, slots=True)
class Stop:
    """The first record that must not be committed. `rank`: where it stands in the step. `error`: node, code and message
    of what stops the workflow.
    """

    at: TopicPartition
    offset: int
    text: str
    rank: tuple[int, int]
    error: tuple[str, str, str] = ("", "", "")


@dataclass(slots=True)
class Stepped:
    """What one step of a task made, ready to be committed."""

    taken: list[Taken] = field(default_factory=list)  # nothing in a step without records
    writes: Writes = field(default_factory=dict)
    idle: tuple[TopicPartition, ...] = ()  # inputs held to be idle from this step on
    sinks: dict[tuple[str, TopicPartition], SinkRows] = field(default_factory=dict)
    dead: list[FailedRows] = field(default_factory=list)
    told: list[FailedRows] = field(default_factory=list)  # the same for the topic of handled errors
    stop: Stop | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(b.body) for batches in self.writes.values() for b in batches)

    @property
    def rows_in(self) -> int:
        return sum(taken.rows_in for taken in self.taken)

    @property
    def failed(self) -> bool:
        """Whether something of it goes to the dead letter topic, or to that of errors."""
        return bool(self.dead or self.told) or any(taken.bad or taken.passed for taken in self.taken)


class Places:
    """Where the rows of a step stand: by `@row`, the input and the offset. Worked out when a row has failed."""

    def __init__(self, arrived: Sequence[Arrived], here: tuple[TopicPartition, int]) -> None:
        """`here`: what stands for rows that no record stands for."""
        self._arrived, self.here = arrived, here
        self._count = sum(one.frame.height for one in arrived)
        self._found: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self._count

    def of(self, row: int) -> tuple[TopicPartition, int]:
        """Input and offset of a row."""
        if row >= len(self):
            return self.here
        inputs, offsets = self.by_row()
        return self._arrived[inputs[row]].at, int(offsets[row])

    def located(self, rows: Batch) -> FailedRows:
        index = rows.frame[ROW].to_numpy().astype(np.int64)
        known = index < len(self)
        if not len(self):
            nothing = pl.Series(POSITION, [None] * len(rows), dtype=pl.Int64)
            return FailedRows(rows, nothing, np.zeros(len(rows), np.int64))
        safe, (inputs, at) = np.where(known, index, 0), self.by_row()
        offsets = pl.Series(POSITION, at[safe])
        if not known.all():
            offsets = offsets.zip_with(pl.Series(known), pl.Series([None], dtype=pl.Int64))
        return FailedRows(rows, offsets, inputs[safe])

    def by_row(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(number of the input, offset) of each row."""
        if self._found is None:
            inputs, offsets = np.zeros(self._count, np.int64), np.empty(self._count, np.int64)
            for number, one in enumerate(self._arrived):
                ranks = slice(None) if one.order is None else one.order.to_numpy()
                offsets[ranks], inputs[ranks] = one.frame[POSITION].to_numpy(), number
            self._found = inputs, offsets
        return self._found


def ids_of(rows: NDArray[np.int64], sources: Sequence[str], places: Places) -> pl.Series:
    """The executions of rows of a step, by `@row`, where each row that entered is one. `sources`: of its inputs."""
    inputs, offsets = places.by_row()
    named = pl.Series([f"{s}:" for s in sources], dtype=pl.String)
    return named[inputs[rows]] + pl.Series(offsets[rows]).cast(pl.String)
