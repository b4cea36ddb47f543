"""Fetched bytes: what is handed out, what is left out, and that damage is an error and never a hole."""

from __future__ import annotations

import random
import struct

import pytest

from streamflow.codecs.envelope import build
from streamflow.codecs.records import Record, from_records, records
from streamflow.logs.kafka.parse import Fetched, gap, has_marker, parse
from streamflow.sdk.errors import CodecError, LogCorrupt, StreamflowError
from streamflow.sdk.log import Compression, NewBatch

ABORT, COMMIT = 0, 1
_ATTRIBUTES_AT, _CRC_AT = 21, 17


def data(
    base: int, *values: str, producer_id: int = -1, compression: Compression = "none", transactional: bool = True
) -> bytes:
    """A stored batch with one record per value."""
    new = from_records([Record(0, 1_000 + i, None, v.encode(), []) for i, v in enumerate(values)])
    return build(
        new,
        base_offset=base,
        compression=compression,
        producer_id=producer_id,
        producer_epoch=0,
        base_sequence=0,
        transactional=transactional and producer_id >= 0,
    )


def control(base: int, producer_id: int, kind: int) -> bytes:
    """A transaction marker, as a broker writes it."""
    key, value = struct.pack(">hh", 0, kind), struct.pack(">hi", 0, 7)
    stored = bytearray(
        build(
            from_records([Record(0, 5_000, key, value, [])]),
            base_offset=base,
            compression="none",
            producer_id=producer_id,
            producer_epoch=0,
            transactional=True,
        )
    )
    return sealed(stored, attributes=0x30)


def sealed(stored: bytearray, *, attributes: int) -> bytes:
    """The batch with other attributes, and a CRC that fits."""
    import google_crc32c

    stored[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2] = struct.pack(">h", attributes)
    stored[_CRC_AT : _CRC_AT + 4] = struct.pack(">I", google_crc32c.value(bytes(stored[_ATTRIBUTES_AT:])))
    return bytes(stored)


def values(found: Fetched) -> list[str]:
    return [(r.value or b"").decode() for one in found.batches for r in records(one.open())]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_are_split_and_opened(compression: Compression) -> None:
    raw = data(0, "a", "b", compression=compression) + data(2, "c", compression=compression)
    found = parse(raw, 0, [])
    assert values(found) == ["a", "b", "c"]
    assert (found.next_offset, found.cut) == (3, False)


def test_a_batch_that_begins_before_the_offset_is_kept_and_one_that_ends_there_is_not() -> None:
    raw = data(0, "a") + data(1, "b", "c")
    found = parse(raw, 2, [])
    assert [b.base_offset for b in found.batches] == [1]


def test_a_cut_batch_at_the_end_is_left_for_the_next_fetch() -> None:
    whole, next_one = data(0, "a", "b"), data(2, "c")
    for size in range(len(next_one)):
        found = parse(whole + next_one[:size], 0, [])
        assert (values(found), found.next_offset, found.cut) == (["a", "b"], 2, size > 0)
    assert parse(next_one[:-1], 2, []).cut


def test_markers_count_to_the_batch_before_them() -> None:
    raw = data(0, "a", producer_id=7) + control(1, 7, COMMIT) + data(2, "b", producer_id=7) + control(3, 7, COMMIT)
    found = parse(raw, 0, [])
    assert values(found) == ["a", "b"]
    assert [(b.last_offset, b.covers, b.open().last_offset) for b in found.batches] == [(0, 1, 1), (2, 3, 3)]
    assert found.next_offset == 4


def test_markers_alone_move_the_position() -> None:
    found = parse(control(5, 7, COMMIT), 5, [])
    assert (found.batches, found.next_offset) == ([], 6)
    assert (gap(5, 6).base_offset, gap(5, 6).last_offset, gap(5, 6).count) == (5, 5, 0)
    assert list(records(gap(5, 6))) == []


def test_aborted_data_is_left_out_by_producer_and_offset() -> None:
    """Producer 7 aborts once between two commits, while 8 commits; a producer without transactions is never aborted."""
    raw = (
        data(0, "a", producer_id=7)
        + control(1, 7, COMMIT)
        + data(2, "no", producer_id=7)
        + data(3, "b", producer_id=8)
        + data(4, "no either", producer_id=7)
        + data(5, "plain", producer_id=7, transactional=False)
        + control(6, 7, ABORT)
        + data(7, "c", producer_id=7)
        + control(8, 8, COMMIT)
        + control(9, 7, COMMIT)
    )
    found = parse(raw, 0, [(7, 2)])
    assert values(found) == ["a", "b", "plain", "c"]
    assert [b.covers for b in found.batches] == [2, 4, 6, 9]
    assert found.next_offset == 10


def test_a_fetch_may_begin_within_an_aborted_transaction() -> None:
    raw = data(4, "no", producer_id=7) + control(5, 7, ABORT) + data(6, "yes", producer_id=7)
    assert values(parse(raw, 4, [(7, 1)])) == ["yes"]


def test_a_batch_that_compaction_emptied_is_a_gap() -> None:
    empty = bytearray(
        build(NewBatch(count=1, body=b"", base_timestamp_ms=0, max_timestamp_ms=0), base_offset=3, compression="none")
    )
    empty[57:61] = struct.pack(">i", 0)
    raw = data(0, "a", "b", "c") + sealed(empty, attributes=0)
    found = parse(raw, 0, [])
    assert ([b.covers for b in found.batches], found.next_offset) == ([3], 4)


def test_a_marker_of_a_producer_is_found() -> None:
    raw = data(0, "a", producer_id=7) + control(1, 7, COMMIT) + data(2, "b", producer_id=8)
    assert has_marker(raw, 7)
    assert not has_marker(raw, 8)


def test_offsets_that_go_back_and_old_formats_are_errors() -> None:
    with pytest.raises(LogCorrupt, match="offset 1 comes after 2"):
        parse(data(1, "a", "b") + data(1, "c"), 0, [])
    old = bytearray(data(0, "a"))
    old[16] = 1
    with pytest.raises(CodecError, match="message format 1"):
        parse(bytes(old), 0, [])


def test_every_flipped_bit_is_an_error_or_is_not_covered_by_the_check() -> None:
    """Method: flip each bit of four batches (data, aborted data, markers); what comes out is right, cut, or an error.

    Only the base offset, the leader epoch and the length lie outside the CRC. A flipped length cuts the batch or runs
    into the next one, whose header then cannot be; a flipped offset is the broker's word against nobody's.
    """
    batches = [
        data(0, "first", producer_id=7),
        data(1, "aborted", producer_id=8),
        control(2, 8, ABORT),
        control(3, 7, COMMIT),
    ]
    raw, aborted = b"".join(batches), [(8, 1)]
    assert values(parse(raw, 0, aborted)) == ["first"]
    starts = [sum(len(b) for b in batches[:i]) for i in range(len(batches))]
    for bit in range(len(raw) * 8):
        where = bit // 8 - max(s for s in starts if s <= bit // 8)
        if where < 8 or 12 <= where < 16:
            continue
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        try:
            found = parse(bytes(flipped), 0, aborted)
            got = values(found)
        except StreamflowError:
            continue
        assert got == ["first"] or (got == [] and found.cut), f"byte {bit // 8}"
        assert found.next_offset == 4 or found.cut, f"byte {bit // 8}"


def test_noise_is_an_error_and_takes_no_memory() -> None:
    """Sizes inside are never believed before the bytes are there."""
    choose = random.Random(7)
    for _ in range(2_000):
        noise = bytearray(choose.randbytes(choose.randrange(200)))
        if len(noise) > 16 and choose.random() < 0.7:
            noise[16] = 2
            noise[8:12] = struct.pack(">i", choose.choice([len(noise) - 12, 49, -1, 1 << 30]))
        try:
            found = parse(bytes(noise), 0, [])
            values(found)
        except StreamflowError:
            continue
        assert found.batches == []
