"""Opening a log: snapshot, then the journal after it, and what to do about an end that is not whole.

A frame that was being written when its process died lies behind the last committed byte and is cut off. A frame that
was committed and is now damaged is never cut off silently: the log is refused, with the place and a way out.
"""

from __future__ import annotations

import os
import secrets
from typing import NamedTuple

from streamflow.logs.embedded.catalog import Catalog
from streamflow.logs.embedded.head import Head, HeadFile
from streamflow.logs.embedded.journal import FIRST_FRAME_AT, Journal, TornError
from streamflow.logs.embedded.layout import Layout
from streamflow.logs.embedded.snapshot import read_snapshot, write_snapshot
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt

_RELOADS_MAX = 1000


class Loaded(NamedTuple):
    catalog: Catalog  # up to the head
    journal: Journal
    head: Head


def load_locked(layout: Layout, head_file: HeadFile, *, durable: bool) -> Loaded:
    """Bring the folder into order and read it; the caller holds the lock. Raises LogCorrupt."""
    head = head_file.read()
    catalog = _snapshot_or_new(layout, durable=durable)
    firsts = layout.journal_firsts()
    if not firsts and catalog.seq == 0 and head is None:
        Journal.create(layout, first=1, chain=catalog.chain, salt=catalog.salt, durable=durable)
        firsts = [1]
    if not firsts or firsts[-1] > catalog.seq + 1 or (head is not None and head.trusted and head.journal > firsts[-1]):
        raise LogCorrupt(
            f"{layout.journals}: the journal with frame {catalog.seq + 1} is missing; "
            f"journals found: {firsts or 'none'}.",
            mend="Restore the folder from a copy; snapshot, journal and topics belong together.",
        )
    journal = Journal(layout, firsts[-1])
    _apply_checked(catalog, journal, head)
    if durable:
        os.fsync(journal.fd)
    if catalog.seq >= journal.first and _last_seq(journal, catalog.position) < catalog.seq:
        # A snapshot covers more than the journal still has: nothing is lost, but numbers must not be used twice.
        journal = Journal.create(layout, first=catalog.seq + 1, chain=catalog.chain, salt=catalog.salt, durable=durable)
        catalog.position = FIRST_FRAME_AT
    generation = (head.generation if head else 0) + 1
    new_head = Head(
        generation=generation,
        journal=journal.first,
        end=catalog.position,
        seq=catalog.seq,
        chain=catalog.chain,
        trusted=True,
    )
    head_file.write(new_head, durable=durable)
    return Loaded(catalog, journal, new_head)


def load_beside_writers(layout: Layout, head_file: HeadFile) -> Loaded:
    """Read a log that others are writing, without a lock; used when a checkpoint of theirs began a new journal."""
    for _ in range(_RELOADS_MAX):
        catalog = read_snapshot(layout.snapshot)
        head = head_file.read()  # after the snapshot: so the head is never older than it
        if catalog is None or head is None:
            break
        if head.journal > catalog.seq + 1 or head.seq < catalog.seq:
            continue  # a checkpoint came between the two reads
        try:
            journal = Journal(layout, head.journal)
        except FileNotFoundError:
            continue
        catalog.position = FIRST_FRAME_AT
        apply_frames(catalog, journal, head.end, seq=journal.first - 1, chain=journal.chain)
        return Loaded(catalog, journal, head)
    raise LogCorrupt(
        f"{layout.root}: snapshot and journal do not fit together.",
        mend="Close all programs that use this log and open it again.",
    )


def apply_frames(
    catalog: Catalog, journal: Journal, end: int, *, seq: int, chain: int, verify: bool = False
) -> set[TopicPartition]:
    """Apply the frames from `catalog.position` to `end` that the catalog does not have yet; returns what grew.

    Raises LogCorrupt, or TornError when `verify`; then all before it is applied.
    """
    grew: set[TopicPartition] = set()
    try:
        for frame in journal.frames(catalog.position, end, seq=seq, chain=chain, verify=verify):
            if frame.header.seq > catalog.seq:
                where = f"{journal.path}: frame {frame.header.seq}"
                grew |= catalog.apply(frame.change, data_at=frame.data_at, where=where)
                catalog.seq, catalog.chain = frame.header.seq, frame.header.crc
            elif frame.header.seq == catalog.seq and frame.header.crc != catalog.chain:
                raise LogCorrupt(
                    f"{journal.path}: frame {catalog.seq} is not the one that the snapshot was made after.",
                    mend="Restore the folder from a copy; snapshot and journal belong together.",
                )
            catalog.position = frame.end
    except TornError as torn:
        if verify:
            raise
        raise _damaged(journal, torn.position, torn.found) from torn
    return grew


def _apply_checked(catalog: Catalog, journal: Journal, head: Head | None) -> None:
    """Apply all sound frames, cut a torn tail, refuse damage."""
    committed_end = head.end if head is not None and head.trusted and head.journal == journal.first else 0
    if journal.salt != catalog.salt or (journal.first == catalog.seq + 1 and journal.chain != catalog.chain):
        raise LogCorrupt(
            f"{journal.path}: does not continue {catalog.seq} frames of the snapshot beside it.",
            mend="Restore the folder from a copy; snapshot and journal belong together.",
        )
    catalog.position = FIRST_FRAME_AT
    try:
        end = journal.size_bytes()
        apply_frames(catalog, journal, end, seq=journal.first - 1, chain=journal.chain, verify=True)
    except TornError as torn:
        if torn.position < committed_end or journal.frame_after(torn.position, seq=catalog.seq) is not None:
            raise _damaged(journal, torn.position, torn.found) from torn
        os.ftruncate(journal.fd, torn.position)
    if catalog.position < committed_end:
        missing = committed_end - catalog.position
        raise _damaged(journal, catalog.position, f"the end of the file, {missing} committed bytes early,")


def _last_seq(journal: Journal, end: int) -> int:
    seq = journal.first - 1
    for frame in journal.frames(FIRST_FRAME_AT, end, seq=seq, chain=journal.chain, verify=False):
        seq = frame.header.seq
    return seq


def _damaged(journal: Journal, position: int, found: str) -> LogCorrupt:
    return LogCorrupt(
        f"{journal.path}: {found} at byte {position}, where a committed frame was.",
        mend=f"Restore this file from a copy; or, to give up what was committed from there on, "
        f"cut it to {position} bytes "
        f"(truncate -s {position}) and delete {journal.path.parent.parent / 'head'}.",
    )


def _snapshot_or_new(layout: Layout, *, durable: bool) -> Catalog:
    catalog = read_snapshot(layout.snapshot)
    if catalog is not None:
        return catalog
    if any(layout.topics.iterdir()) or layout.journal_firsts():
        raise LogCorrupt(
            f"{layout.snapshot}: the snapshot is missing, but the folder holds records.",
            mend="Restore it from a copy of the log's folder, or choose an empty folder for a new log.",
        )
    catalog = Catalog(salt=secrets.randbits(32))
    write_snapshot(layout.snapshot, catalog, durable=durable)
    return catalog
