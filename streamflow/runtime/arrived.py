"""What has arrived on one input and was not taken yet, and what a step takes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from streamflow.codecs import BadRecord, Marker
from streamflow.model.batch import POSITION, Batch
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import RecordBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Offsets `first` to `end_offset` (exclusive) of an input: rows with keys and times, and what else lies there."""

    at: TopicPartition
    first: int
    end_offset: int
    frame: pl.DataFrame  # rows that go on
    failed: Batch | None = None  # rows whose key or time failed
    bad: Sequence[BadRecord] = ()  # records that did not decode
    markers: Sequence[Marker] = ()
    batches: Sequence[RecordBatch] = ()  # where all of them were read
    order: pl.Series | None = None  # ranks of the rows in their step; None where they are alone in it

    @property
    def records(self) -> int:
        """Records of users in these offsets."""
        return self.frame.height + len(self.bad) + (0 if self.failed is None else len(self.failed))

    def position(self, row: int) -> int:
        """Offset of a row; behind the last one, the end."""
        return int(self.frame[POSITION][row]) if row < self.frame.height else self.end_offset

    def rank(self, offset: int) -> int:
        """Rank of the first row at or behind `offset`; of what follows the last one, behind it."""
        row = int(self.frame[POSITION].search_sorted(offset))
        if self.order is None or not self.frame.height:
            return row
        return int(self.order[row]) if row < self.frame.height else int(self.order[-1]) + 1

    def split(self, offset: int) -> tuple[Arrived, Arrived]:
        """What lies before `offset`, and the rest."""
        before, behind = pl.col(POSITION) < offset, pl.col(POSITION) >= offset
        failed, rows = self.failed, int(self.frame[POSITION].search_sorted(offset))
        head = replace(
            self,
            end_offset=min(offset, self.end_offset),
            frame=self.frame[:rows],
            failed=None if failed is None else failed.with_frame(failed.frame.filter(before)),
            bad=[b for b in self.bad if b.offset < offset],
            markers=[m for m in self.markers if m.offset < offset],
        )
        rest = replace(
            self,
            first=head.end_offset,
            frame=self.frame[rows:],
            failed=None if failed is None else failed.with_frame(failed.frame.filter(behind)),
            bad=[b for b in self.bad if b.offset >= offset],
            markers=[m for m in self.markers if m.offset >= offset],
        )
        return head, rest
