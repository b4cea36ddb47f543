"""Checkpoints: batches move from the journal to segments, a snapshot names them, and a new journal begins.

Interrupted anywhere, it leaves a log that opens: until the snapshot is replaced the old one and its journal hold; from
then on the new one does, and frames of the old journal are known to be in it. The order of the steps is what counts.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from streamflow.logs.embedded.catalog import Catalog, Partition, Segment, Topic
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.files import no_space_is_log_full, sync_folder
from streamflow.logs.embedded.frame import Change
from streamflow.logs.embedded.journal import FIRST_FRAME_AT, Journal
from streamflow.logs.embedded.retention import retained_start
from streamflow.logs.embedded.segments import SegmentWriter
from streamflow.logs.embedded.snapshot import write_snapshot
from streamflow.model.positions import TopicPartition

JOURNALS_KEPT = 2  # the open one, and the one before it to mend segments from


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Segments that compaction replaced: `old` by `new`, which may be nothing."""

    at: TopicPartition
    incarnation: str
    old: tuple[Segment, ...]
    new: tuple[Segment, ...]


class Checkpointer:
    """Makes checkpoints; only the writer thread, holding the log, does."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._segments = SegmentWriter(durable=core.durable)

    def run(self, now_ms: int, swaps: tuple[Swap, ...] = ()) -> None:
        """Make a checkpoint as of now; retention and `swaps` take effect with it.

        Raises LogFull: nothing is lost, the batches stay in the journal; try again when there is space.
        """
        core = self._core
        if core.catalog.seq < core.journal.first:  # no frame since the last checkpoint
            if not swaps and not self._has_expired(now_ms):
                return
            # A journal is named by its first frame, and others learn of a checkpoint by its new journal: so one is due.
            core.publish([core.write_frame(Change(), (), None)])
        with no_space_is_log_full(core.layout.topics):
            after, obsolete = self._copy_out(now_ms, swaps)
            write_snapshot(core.layout.snapshot, after, durable=core.durable)
        # From here the snapshot on disk is the new one, so the catalog must be, whatever happens next.
        with core.state:
            after.position = core.catalog.position
            core.catalog = after
        with no_space_is_log_full(core.layout.journals):
            journal = Journal.create(
                core.layout, first=after.seq + 1, chain=after.chain, salt=after.salt, durable=core.durable
            )
        with core.state:
            core.switch_journal(journal, FIRST_FRAME_AT)
        self._clean(obsolete)

    def _has_expired(self, now_ms: int) -> bool:
        return any(
            retained_start(partition, topic.config, now_ms) > partition.start
            for topic in self._core.catalog.topics.values()
            for partition in topic.partitions
        )

    def _copy_out(self, now_ms: int, swaps: tuple[Swap, ...]) -> tuple[Catalog, list[str]]:
        """The catalog as it will be, with all batches in segments, and the paths that nothing names any more."""
        before = self._core.catalog
        by_partition = {(s.at, s.incarnation): s for s in swaps}
        obsolete = list(before.garbage)
        after = Catalog(salt=before.salt, seq=before.seq, chain=before.chain, garbage=obsolete)
        after.groups, after.producers = before.groups, before.producers
        for name, topic in before.topics.items():
            moved = Topic(topic.info, topic.config, [])
            for number, partition in enumerate(topic.partitions):
                at = TopicPartition(name, number)
                swap = by_partition.get((at, topic.info.incarnation))
                new = self._copy_partition(at, topic, partition, swap, now_ms)
                named = {s.name for s in new.segments}
                folder = f"{name}/{topic.info.incarnation}/{number}"
                for gone in (s for s in partition.segments if s.name not in named):
                    obsolete += [f"{folder}/{gone.name}.log", f"{folder}/{gone.name}.index"]
                moved.partitions.append(new)
            after.topics[name] = moved
        return after, obsolete

    def _copy_partition(
        self, at: TopicPartition, topic: Topic, partition: Partition, swap: Swap | None, now_ms: int
    ) -> Partition:
        core = self._core
        folder = core.layout.partition(at, topic.info.incarnation)
        segments = partition.segments
        if swap is not None:
            segments = _swapped(segments, swap)
        wanted = [b for b in partition.tail if b.last >= partition.start]
        if wanted:
            fresh = core.durable and not folder.exists()
            segments = self._segments.append(
                folder, segments, wanted, core.journal.fd, size_max=topic.config.segment_bytes
            )
            if core.durable:
                sync_folder(folder)
                for parent in (folder.parent, folder.parent.parent, core.layout.topics) if fresh else ():
                    sync_folder(parent)
        new = Partition(start=partition.start, end=partition.end, tail_base=partition.end, segments=segments)
        new.start = retained_start(new, topic.config, now_ms)
        new.segments = tuple(s for s in segments if s.end > new.start)
        return new

    def _clean(self, obsolete: list[str]) -> None:
        """Remove what nothing names. What cannot be removed now is named as garbage in the snapshot: next time."""
        layout = self._core.layout
        for name in obsolete:
            _remove(layout.topics / name)
        with self._core.state:
            self._core.catalog.garbage = [name for name in obsolete if os.path.lexists(layout.topics / name)]
        for first in layout.journal_firsts()[:-JOURNALS_KEPT]:
            layout.journal(first).unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        if path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    else:
        path.unlink(missing_ok=True)


def _swapped(segments: tuple[Segment, ...], swap: Swap) -> tuple[Segment, ...]:
    """`segments` with the replaced run exchanged; unchanged if it is no longer there as it was."""
    for at in range(len(segments)):
        if segments[at : at + len(swap.old)] == swap.old:
            return segments[:at] + swap.new + segments[at + len(swap.old) :]
    return segments
