"""Record batches: built, stored, opened, damaged; aiokafka's own parser is the second opinion."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import google_crc32c
import pytest
from aiokafka.record.memory_records import MemoryRecords

from streamflow.codecs.recordbatch import (
    Damaged,
    Record,
    as_read,
    build,
    from_records,
    open_batch,
    parse_header,
    rebase,
    records,
    scan,
)
from streamflow.sdk.errors import CodecError, LogCorrupt
from streamflow.sdk.log import Compression, NewBatch

COMPRESSIONS: list[Compression] = ["none", "gzip", "snappy", "lz4", "zstd"]
ITEMS = [
    Record(i, 1_000 + 7 * i, None if i % 3 else b"k%d" % i, None if i % 5 == 4 else b"v" * i,
           [("h", None), ("h", b"1")] if i % 7 == 0 else [])
    for i in range(50)
]  # fmt: skip


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_stored_batch_opens_to_what_was_put_in(compression: Compression) -> None:
    stored = build(
        from_records(ITEMS), base_offset=500, compression=compression, producer_id=7, producer_epoch=1, base_sequence=3,
        transactional=True,
    )  # fmt: skip
    header = parse_header(stored)
    assert (header.base_offset, header.last_offset, header.count) == (500, 549, 50)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 1, 3)
    assert header.compression == compression
    assert header.is_transactional
    assert not header.is_control
    assert header.size_bytes == len(stored)
    opened = open_batch(b"??" + stored, 2)
    assert [r._replace(offset=r.offset - 500) for r in records(opened)] == ITEMS


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_kafkas_client_reads_our_batches(compression: Compression) -> None:
    parsed = MemoryRecords(build(from_records(ITEMS), base_offset=9, compression=compression))
    batch = parsed.next_batch()
    assert batch.validate_crc()
    theirs = [Record(r.offset - 9, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
    assert theirs == ITEMS


def test_a_batch_may_move_without_a_new_crc() -> None:
    stored = build(from_records(ITEMS), base_offset=0, compression="lz4")
    moved = open_batch(rebase(memoryview(bytearray(stored)), 1 << 40))
    assert moved.base_offset == 1 << 40
    assert moved.last_offset == (1 << 40) + 49


@pytest.mark.parametrize("byte", [8, 17, 21, 30, 57, 60, 61, 100])
def test_any_flipped_bit_behind_the_offset_is_noticed(byte: int) -> None:
    stored = bytearray(build(from_records(ITEMS), base_offset=0, compression="none"))
    for bit in range(8):
        damaged = bytearray(stored)
        damaged[byte] ^= 1 << bit
        with pytest.raises(LogCorrupt):
            open_batch(damaged)


def test_old_message_formats_are_refused_with_a_mend() -> None:
    stored = bytearray(build(from_records(ITEMS), base_offset=0, compression="none"))
    stored[16] = 1
    with pytest.raises(CodecError, match="message format 1") as caught:
        open_batch(stored)
    assert "0.11" in caught.value.mend


def test_a_cut_batch_is_corrupt() -> None:
    stored = build(from_records(ITEMS), base_offset=0, compression="none")
    for length in (0, 60, 61, len(stored) - 1):
        with pytest.raises(LogCorrupt):
            open_batch(stored[:length])


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_decompression_is_bounded(compression: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.codecs.compression.DECOMPRESSED_BYTES_MAX", 1 << 20)
    small = NewBatch(count=1, body=bytes(1 << 20), base_timestamp_ms=0, max_timestamp_ms=0)
    assert open_batch(build(small, base_offset=0, compression=compression)).body == small.body
    bomb = replace(small, body=bytes((1 << 20) + 1))
    with pytest.raises(CodecError, match="more than 1048576 bytes"):
        open_batch(build(bomb, base_offset=0, compression=compression))


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_damaged_compression_under_a_good_crc_is_corrupt(compression: Compression) -> None:
    noise = NewBatch(count=1, body=Random(5).randbytes(500), base_timestamp_ms=0, max_timestamp_ms=0)
    stored = build(noise, base_offset=0, compression="none")
    code = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[compression]
    header = bytearray(stored)
    header[22] = code
    header[17:21] = google_crc32c.value(bytes(header[21:])).to_bytes(4, "big")
    with pytest.raises((CodecError, LogCorrupt)):
        open_batch(header)


def test_damage_is_kept_to_its_record() -> None:
    """Method: break the header count of the third record; the others must still be found."""
    batch = from_records([Record(i, 0, b"key", b"value%d" % i, []) for i in range(5)])
    at = batch.body.index(b"value2") + 6
    body = batch.body[:at] + b"\x08" + batch.body[at + 1 :]
    found = scan(as_read(replace(batch, body=body)))
    assert [type(f) for f in found] == [Record, Record, Damaged, Record, Record]
    assert [f.offset for f in found] == [0, 1, 2, 3, 4]
    with pytest.raises(CodecError, match="offset 2"):
        list(records(as_read(replace(batch, body=body))))


def test_append_time_replaces_record_times() -> None:
    batch = replace(as_read(from_records(ITEMS)), log_append_time=True, max_timestamp_ms=99)
    assert {r.timestamp_ms for r in records(batch)} == {99}
