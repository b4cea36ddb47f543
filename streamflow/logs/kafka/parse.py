"""Fetched bytes -> stored batches that may be handed out, found by their headers alone; no record is decoded.

Control batches, data of aborted transactions and batches that compaction emptied are left out. What is left out is
covered by the batch before it (`covers`), so that a reader's position moves past it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streamflow.codecs.envelope import HEADER_SIZE, Header, check_crc, open_batch, parse_header
from streamflow.codecs.varints import read_varint
from streamflow.sdk.errors import LogCorrupt
from streamflow.sdk.log import RecordBatch

_LENGTH_END: Final = 12  # base offset and length: how long a batch is
_ABORT: Final = 0


@dataclass(slots=True)
class Stored:
    """A record batch inside fetched bytes, CRC not yet checked. `covers`: the last offset it speaks for."""

    raw: bytes
    at: int
    base_offset: int
    last_offset: int
    covers: int
    size_bytes: int
    max_timestamp_ms: int

    def open(self) -> RecordBatch:
        """Check and decompress. Raises LogCorrupt, CodecError."""
        batch = open_batch(self.raw, self.at)
        return batch if self.covers == self.last_offset else replace(batch, last_offset=self.covers)


@dataclass(slots=True)
class Fetched:
    """What one answer holds of one partition from `first` on: batches, and the next offset to ask for.

    `cut`: the last batch is not there whole; where nothing else came, the next fetch must allow for more.
    """

    next_offset: int
    batches: list[Stored] = field(default_factory=list)
    cut: bool = False


def parse(raw: bytes, first: int, aborted: Sequence[tuple[int, int]]) -> Fetched:
    """Split fetched bytes. `aborted`: (producer id, first offset) of aborted transactions that reach into them.

    Raises:
        LogCorrupt: a header that cannot be, or a batch to be left out whose CRC does not fit.
        CodecError: message format 0 or 1.
    """
    found = Fetched(first)
    waiting = sorted(aborted, key=lambda one: one[1])
    aborting: set[int] = set()
    at, last = 0, -1
    while at < len(raw):
        if len(raw) - at < HEADER_SIZE or len(raw) - at < _size(raw, at):
            found.cut = True
            break
        header = parse_header(raw, at)
        if header.base_offset <= last:
            raise LogCorrupt(f"record batch at byte {at}: offset {header.base_offset} comes after {last}.")
        last = header.last_offset
        while waiting and waiting[0][1] <= last:
            aborting.add(waiting.pop(0)[0])
        left_out = header.is_control or not header.count
        left_out = left_out or (header.is_transactional and header.producer_id in aborting)
        if left_out:
            check_crc(raw, at, header)  # nobody opens it, and a flipped bit must not make records vanish
            if header.is_control and _control_type(raw, at, header) == _ABORT:
                aborting.discard(header.producer_id)
            if found.batches:
                found.batches[-1].covers = last
        elif last >= first:
            size, time_ms = header.size_bytes, header.max_timestamp_ms
            found.batches.append(Stored(raw, at, header.base_offset, last, last, size, time_ms))
        found.next_offset = max(found.next_offset, last + 1)
        at += header.size_bytes
    return found


def has_marker(raw: bytes, producer_id: int) -> bool:
    """Whether a control batch of this producer is among these bytes."""
    at = 0
    while len(raw) - at >= HEADER_SIZE and len(raw) - at >= _size(raw, at):
        header = parse_header(raw, at)
        if header.is_control and header.producer_id == producer_id:
            return True
        at += header.size_bytes
    return False


def gap(first: int, end: int) -> RecordBatch:
    """A batch without records that covers offsets `first` to `end` - 1: nothing readable is there."""
    return RecordBatch(
        base_offset=first, last_offset=end - 1, count=0, base_timestamp_ms=-1, max_timestamp_ms=-1, body=b""
    )


def _size(raw: bytes, at: int) -> int:
    """Bytes of the batch at `at`, as its length field says; at least a header, which `parse_header` then judges."""
    return max(HEADER_SIZE, int.from_bytes(raw[at + 8 : at + _LENGTH_END], "big", signed=True) + _LENGTH_END)


def _control_type(raw: bytes, at: int, header: Header) -> int:
    """The type in a control record's key (version, type): 0 abort, 1 commit; others are for brokers."""
    end = at + header.size_bytes
    try:
        _, p = read_varint(raw, at + HEADER_SIZE, end)  # length
        _, p = read_varint(raw, p + 1, end)  # attributes, then the time
        _, p = read_varint(raw, p, end)  # offset delta
        size, p = read_varint(raw, p, end)
    except ValueError as error:
        raise LogCorrupt(f"control record at byte {at} (offset {header.base_offset}): {error}.") from error
    if size < 4 or p + 4 > end:
        raise LogCorrupt(f"control record at byte {at} (offset {header.base_offset}): its key has {size} bytes.")
    return int.from_bytes(raw[p + 2 : p + 4], "big", signed=True)
