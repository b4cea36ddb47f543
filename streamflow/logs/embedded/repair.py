"""Mending a damaged record batch of a segment from the journal that it was copied out of, while that is still kept."""

from __future__ import annotations

import os
from pathlib import Path

from streamflow.logs.embedded.catalog import Segment
from streamflow.logs.embedded.files import Handle, read_at, write_all
from streamflow.logs.embedded.frame import BatchRef, body_is_sound, is_sealed
from streamflow.logs.embedded.journal import FIRST_FRAME_AT, Journal, TornError
from streamflow.logs.embedded.layout import Layout
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt


def mend(layout: Layout, open_journal: int, at: TopicPartition, segment: Segment, *, path: Path, position: int) -> bool:
    """Write the batch at `position` of `path` again; False if no journal has it any more.

    The newest closed journal is what the last checkpoint copied, so its batches end where the segments end: their
    places follow from their sizes, whatever the segment now holds.
    """
    closed = [first for first in layout.journal_firsts() if first < open_journal]
    if not closed or segment.compacted_at_ms >= 0:
        return False
    try:
        journal = Journal(layout, closed[-1])
        copied = _batches_of(journal, at, segment)
    except (FileNotFoundError, LogCorrupt, TornError):
        return False
    place = segment.size_bytes
    for ref, journal_at in reversed(copied):
        place -= ref.size_bytes
        if place == position:
            batch = read_at(journal.fd, journal_at, ref.size_bytes)
            sound = len(batch) == ref.size_bytes and is_sealed(batch, 0) and body_is_sound(batch)
            if not sound or int.from_bytes(batch[:8], "big") != ref.base:
                return False
            damaged = Handle(path, os.O_WRONLY)
            write_all(damaged.fd, [batch], position)
            return True
    return False


def _batches_of(journal: Journal, at: TopicPartition, segment: Segment) -> list[tuple[BatchRef, int]]:
    """The batches of one segment, in order, with their places in the journal."""
    out = []
    size = journal.size_bytes()
    for frame in journal.frames(FIRST_FRAME_AT, size, seq=journal.first - 1, chain=journal.chain, verify=False):
        place = frame.data_at
        for ref in frame.change.batches:
            if (ref.topic, ref.partition) == at and segment.base <= ref.base < segment.end:
                out.append((ref, place))
            place += ref.size_bytes
    return out
