"""Single records: the slow path in and out of a record batch, and the one that bears anything.

Batches that the columnar codecs cannot take whole (null keys mixed with others, headers, damage) come through here.
aiokafka is imported here and not where it is used: its modules import each other in a circle, and two threads that
begin that import at the same time see half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streamflow.codecs.envelope import HEADER_SIZE, build
from streamflow.codecs.varints import read_varint
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import NewBatch, RecordBatch

HEADERS_MAX: Final = 10_000  # of one record; more is damage or an attack

Headers = list[tuple[str, bytes | None]]


class Record(NamedTuple):
    """One record. `headers` keep their order and may repeat a name."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Damaged:
    """Where a record should be, and is not. `raw` are the bytes found there, the record's own length prefix left
    out.
    """

    offset: int
    raw: bytes
    message: str


def records(batch: RecordBatch) -> Iterator[Record]:
    """The records of a batch in offset order. Raises CodecError at the first damaged one."""
    for found in scan(batch):
        if isinstance(found, Damaged):
            raise CodecError(f"record at offset {found.offset}: {found.message}.")
        yield found


def scan(batch: RecordBatch) -> list[Record | Damaged]:
    """All records of a batch in offset order, damaged ones told apart; never raises for what the bytes hold."""
    try:
        return list(_scan_native(batch))
    except (CorruptRecordException, UnicodeDecodeError, ValueError, OverflowError, MemoryError):
        return _scan_bounded(batch)  # the native parser stops at the first damage, this one goes on behind it


def from_records(items: Sequence[Record]) -> NewBatch:
    """A batch of these records in this order; their offsets are ignored, deltas are dense. At least one record."""
    if not items:
        raise CodecError("a record batch needs at least one record.")
    size = sum(
        len(r.key or b"") + len(r.value or b"") + sum(4 * len(k) + len(v or b"") + 20 for k, v in r.headers) + 64
        for r in items
    )
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, size + HEADER_SIZE + 64)
    for i, r in enumerate(items):
        if builder.append(i, r.timestamp_ms, r.key, r.value, r.headers) is None:
            raise CodecError(f"record {i} does not fit a batch of {size} bytes.")
    times = [r.timestamp_ms for r in items]
    return NewBatch(
        count=len(items),
        body=bytes(builder.build())[HEADER_SIZE:],
        base_timestamp_ms=times[0],
        max_timestamp_ms=max(times),
    )


def _scan_native(batch: RecordBatch) -> Iterator[Record]:
    """aiokafka's parser wants a stored batch: give the body a header again (its CRC is not looked at)."""
    as_stored = NewBatch(
        count=batch.count,
        body=batch.body,
        base_timestamp_ms=batch.base_timestamp_ms,
        max_timestamp_ms=batch.max_timestamp_ms,
    )
    time_ms = batch.max_timestamp_ms if batch.log_append_time else None
    last, seen = batch.base_offset - 1, 0
    for r in DefaultRecordBatch(build(as_stored, base_offset=batch.base_offset, compression="none")):
        if not last < r.offset <= batch.last_offset:
            raise CorruptRecordException(f"offset {r.offset} after {last}")
        last, seen = r.offset, seen + 1
        yield Record(r.offset, r.timestamp if time_ms is None else time_ms, r.key, r.value, r.headers)
    if seen != batch.count:
        raise CorruptRecordException(f"{seen} records, {batch.count} announced")


def _scan_bounded(batch: RecordBatch) -> list[Record | Damaged]:
    """Record by record, each kept inside its own length; where even the length is damaged, the rest is one damage."""
    found: list[Record | Damaged] = []
    body, at, last = batch.body, 0, batch.base_offset - 1
    for _ in range(batch.count):
        try:
            size, start = read_varint(body, at, len(body))
            if size < 0 or start + size > len(body):
                raise ValueError(f"length {size} with {len(body) - start} bytes left")
        except ValueError as error:
            found.append(Damaged(last + 1, body[at:], f"{error}; offsets {last + 1} to {batch.last_offset} are lost"))
            return found
        at = start + size
        one = _one(batch, body[start:at], last)
        found.append(one)
        last = one.offset
        if last > batch.last_offset:  # more records than offsets: which one the last offset names, nobody can say
            del found[-2 if len(found) > 1 and found[-2].offset == batch.last_offset else -1 :]
            found.append(Damaged(batch.last_offset, body[start:], "more records than offsets; the rest is lost"))
            return found
    if at != len(body) and found:
        lost = found.pop()
        found.append(Damaged(lost.offset, body[at:], f"{len(body) - at} bytes behind the last record"))
    return found


def _one(batch: RecordBatch, raw: bytes, last: int) -> Record | Damaged:
    offset = last + 1
    try:
        end = len(raw)
        time_delta, at = read_varint(raw, 1, end)
        offset_delta, at = read_varint(raw, at, end)
        if last < batch.base_offset + offset_delta <= batch.last_offset:
            offset = batch.base_offset + offset_delta
        else:
            raise ValueError(f"offset delta {offset_delta} after offset {last}")
        key, at = _sized(raw, at, end)
        value, at = _sized(raw, at, end)
        count, at = read_varint(raw, at, end)
        if not 0 <= count <= min(HEADERS_MAX, end):
            raise ValueError(f"{count} headers")
        headers: Headers = []
        for _ in range(count):
            name, at = _sized(raw, at, end)
            if name is None:
                raise ValueError("a header without a name")
            content, at = _sized(raw, at, end)
            headers.append((name.decode(), content))
        if at != end:
            raise ValueError(f"{end - at} bytes too many")
    except ValueError as error:  # UnicodeDecodeError is one
        return Damaged(offset, raw, str(error))
    time_ms = batch.max_timestamp_ms if batch.log_append_time else batch.base_timestamp_ms + time_delta
    return Record(offset, max(min(time_ms, (1 << 63) - 1), -(1 << 63)), key, value, headers)


def _sized(raw: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = read_varint(raw, at, end)
    if size == -1:
        return None, at
    if size < 0 or at + size > end:
        raise ValueError(f"field of {size} bytes with {end - at} left")
    return raw[at : at + size], at + size
