"""Changes become changelog records and come back, and a store restores from them."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs.recordbatch import as_read
from streamflow.codecs.records import Record, from_records, records
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import Log, NewBatch, RecordBatch
from streamflow.state.changelog import BATCH_BYTES_MAX, Entry, decode_changes, decode_columns, encode_changes
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore

AT = TopicPartition("big-orders.dedupe.seen.changelog", 0)
SIZED = st.binary(max_size=5) | st.sampled_from(
    [bytes(63), bytes(64), bytes(65), bytes(8191), bytes(8192), bytes(8200)]
)
ENTRIES = st.dictionaries(SIZED, st.none() | SIZED, max_size=90).map(lambda d: list(d.items()))


def stored(batches: Sequence[NewBatch], first: int = 0) -> list[RecordBatch]:
    out = []
    for batch in batches:
        out.append(as_read(batch, base_offset=first))
        first += batch.count
    return out


class ListLog:
    """The part of a log that restoring uses, over batches in memory; `end` may lie past them, as behind a marker."""

    def __init__(self, batches: Sequence[RecordBatch], *, start: int = 0, end: int | None = None) -> None:
        self.batches, self.start = batches, start
        self.end = end if end is not None else (batches[-1].last_offset + 1 if batches else 0)

    async def offsets(self, _at: TopicPartition) -> tuple[int, int]:
        return self.start, self.end

    async def read(self, _at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        assert offset >= self.start
        return [b for b in self.batches if b.last_offset >= offset][:1]  # one at a time: the smallest a log may give


def restored(store: MemoryStore, log: ListLog) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    asyncio.run(restore(store, cast(Log, log), AT, lambda at, end: seen.append((at, end))))
    return seen


def in_log_order(entries: list[Entry]) -> list[Entry]:
    """Entries, then deletions."""
    return [e for e in entries if e[1] is not None] + [e for e in entries if e[1] is None]


@given(ENTRIES, st.integers(min_value=0, max_value=2**42))
def test_the_same_bytes_as_record_by_record_encoding(entries: list[Entry], time_ms: int) -> None:
    kept = [Record(0, time_ms, key, value, []) for key, value in entries if value is not None]
    gone = [Record(0, time_ms, key, None, []) for key, value in entries if value is None]
    assert encode_changes(entries, timestamp_ms=time_ms) == [from_records(part) for part in (kept, gone) if part]


@given(ENTRIES, st.integers(0, 100))
def test_decoding_gives_the_entries_back(entries: list[Entry], from_offset: int) -> None:
    read = stored(encode_changes(entries, timestamp_ms=7))
    found = [e for batch in read for e in decode_changes(batch, from_offset=from_offset)]
    assert found == in_log_order(entries)[from_offset:]


@given(ENTRIES.filter(bool))
def test_entries_and_deletions_in_one_batch_are_read_too(entries: list[Entry]) -> None:
    """A batch as compaction in place or another writer may leave it."""
    batch = from_records([Record(0, 1, key, value, []) for key, value in entries])
    assert decode_changes(as_read(batch)) == entries


def test_batches_stay_below_their_bound() -> None:
    entries: list[Entry] = [(b"%d" % i, bytes(i * 97 % 40_000)) for i in range(300)]
    batches = encode_changes(entries, timestamp_ms=7)
    assert [e for batch in stored(batches) for e in decode_changes(batch)] == entries
    assert max(len(b.body) for b in batches) <= BATCH_BYTES_MAX
    assert len(batches) < 12


def test_an_entry_that_no_record_can_hold_is_refused() -> None:
    with pytest.raises(StateError, match=f"key b'large' takes .* more than the {BATCH_BYTES_MAX}"):
        encode_changes([(b"a", b""), (b"large", bytes(BATCH_BYTES_MAX))], timestamp_ms=7)


def test_every_record_carries_the_commit_time() -> None:
    batches = stored(encode_changes([(b"a", b"1"), (b"b", None)], timestamp_ms=1234))
    assert [(r.timestamp_ms, r.value) for b in batches for r in records(b)] == [(1234, b"1"), (1234, None)]


def test_restore_goes_on_where_the_store_is() -> None:
    store = MemoryStore()
    store.put(b"a", b"old")
    store.put(b"b", b"old")
    store.commit(2)
    entries: list[Entry] = [(b"a", b"not again"), (b"b", b"not again"), (b"a", b"new"), (b"b", None), (b"c", b"")]
    read = stored(encode_changes(entries[:3], timestamp_ms=1)) + stored(encode_changes(entries[3:], timestamp_ms=1), 3)
    assert restored(store, ListLog(read)) == [(5, 5)]
    assert list(store.scan()) == [(b"a", b"new"), (b"c", b"")]
    assert store.changelog_offset == 5


def test_restore_ends_behind_transaction_markers() -> None:
    store = MemoryStore()
    read = stored(encode_changes([(b"a", b"1")], timestamp_ms=1))
    assert restored(store, ListLog(read, end=3)) == [(3, 3)]
    assert (store.changelog_offset, store.get(b"a")) == (3, b"1")


def test_an_empty_store_restores_from_the_log_start() -> None:
    store = MemoryStore()
    read = stored(encode_changes([(b"a", b"1")], timestamp_ms=1), 10)
    restored(store, ListLog(read, start=10))
    assert (store.changelog_offset, store.get(b"a")) == (11, b"1")


def test_an_empty_changelog_is_fine() -> None:
    store = MemoryStore()
    assert restored(store, ListLog([])) == []


@pytest.mark.parametrize(("start", "end"), [(0, 4), (6, 9)])
def test_a_changelog_that_does_not_reach_the_store_is_refused(start: int, end: int) -> None:
    store = MemoryStore()
    store.restore([(b"a", b"1")], 5)
    with pytest.raises(StateError, match=f"holds offsets {start} to {end}, the store is at 5"):
        restored(store, ListLog([], start=start, end=end))


@given(st.lists(st.tuples(SIZED, st.none() | SIZED), max_size=60), st.integers(1, 9), st.integers(0, 70))
def test_many_batches_at_once_give_what_their_records_say(entries: list[Entry], size: int, from_offset: int) -> None:
    """Puts, deletions and mixed batches behind one another, as commits and compaction leave them."""
    read: list[RecordBatch] = []
    for first in range(0, len(entries), size):
        part = from_records([Record(0, 1, key, value, []) for key, value in entries[first : first + size]])
        read.append(as_read(part, base_offset=first))
    keys, values = decode_columns(read, from_offset=from_offset)
    assert list(zip(keys.to_list(), values.to_list(), strict=True)) == entries[from_offset:]


def test_a_record_without_key_is_refused() -> None:
    foreign = as_read(from_records([Record(0, 1, b"a", b"1", []), Record(0, 1, None, b"1", [])]), base_offset=4)
    with pytest.raises(StateError, match="offset 5: it has no key"):
        decode_changes(foreign)


def test_a_damaged_record_is_refused() -> None:
    (good,) = encode_changes([(b"abc", b"1")], timestamp_ms=1)
    damaged = NewBatch(count=1, body=good.body[:4] + b"\x7f" + good.body[5:], base_timestamp_ms=1, max_timestamp_ms=1)
    with pytest.raises(StateError, match="changelog record at offset 0"):
        decode_changes(as_read(damaged))
