"""What every `TransactionalStore` must do, as a suite that any implementation runs under pytest.

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def make_store(self, tmp_path): ...

The heart is a model: random operations on the store and on two dicts, which must never be told apart. `reopen` is for
stores that keep the base beyond the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamflow.sdk.errors import EntryTooLarge, StateError
from streamflow.sdk.state import TransactionalStore
from streamflow.state.changelog import ENTRY_BYTES_MAX, encode_changes

MakeStore = Callable[[], TransactionalStore]

# Few keys, so that operations meet; bytes at both ends of the order, and keys that begin other keys.
KEYS = st.sampled_from([b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\x7f", b"\x80", b"\xff", b"\xff\xff"])
VALUES = st.sampled_from([b"", b"1", b"22", bytes(300)])
ENTRIES = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=8)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("put_many"), st.lists(st.tuples(KEYS, VALUES), max_size=6)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("delete_many"), st.lists(KEYS, max_size=6)),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("get_many"), st.lists(KEYS, max_size=6)),
    st.tuples(st.just("scan"), KEYS, st.none() | KEYS),
    st.tuples(st.just("commit"), st.integers(min_value=0, max_value=3)),
    st.tuples(st.just("abort")),
    st.tuples(st.just("restore"), ENTRIES),
)

# A suite: one method runs for each store, which hypothesis takes for an accident.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


class Model:
    """The same store, so plain that it is right by inspection."""

    def __init__(self) -> None:
        self.base: dict[bytes, bytes] = {}
        self.view: dict[bytes, bytes] = {}
        self.offset = 0

    def scan(self, first: bytes, end: bytes | None) -> list[tuple[bytes, bytes]]:
        return [(k, v) for k, v in sorted(self.view.items()) if k >= first and (end is None or k < end)]


def apply(operation: tuple[Any, ...], store: TransactionalStore, model: Model) -> None:
    """Do one operation on both and compare what they answer."""
    match operation:
        case ("put", key, value):
            store.put(key, value)
            model.view[key] = value
        case ("put_many", pairs):
            store.put_many([k for k, _ in pairs], [v for _, v in pairs])
            model.view.update(pairs)
        case ("delete", key):
            store.delete(key)
            model.view.pop(key, None)
        case ("delete_many", keys):
            store.delete_many(keys)
            for key in keys:
                model.view.pop(key, None)
        case ("get", key):
            assert store.get(key) == model.view.get(key)
        case ("get_many", keys):
            assert store.get_many(keys) == [model.view.get(k) for k in keys]
        case ("scan", first, end):
            assert list(store.scan(first, end)) == model.scan(first, end)
        case ("commit", records):
            model.offset += records
            store.commit(model.offset)
            model.base = dict(model.view)
        case ("abort",):
            store.abort()
            model.view = dict(model.base)
        case ("restore", entries):
            store.abort()
            model.offset += len(entries)
            store.restore(entries, model.offset)
            for key, value in entries:
                if value is None:
                    model.base.pop(key, None)
                else:
                    model.base[key] = value
            model.view = dict(model.base)


def check_changes(store: TransactionalStore, model: Model) -> None:
    """The changes lead from the base to what is seen, in key order and each key once."""
    changes = store.changes()
    assert all(a < b for (a, _), (b, _) in pairwise(changes))
    replayed = dict(model.base)
    for key, value in changes:
        if value is None:
            replayed.pop(key, None)
        else:
            replayed[key] = value
    assert replayed == model.view


class StoreConformance:
    """Subclass it, name the class `Test…`, and give a `make_store` fixture that returns new, empty stores."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        raise NotImplementedError("give a make_store fixture")

    @settings(suppress_health_check=SHARED, deadline=None)
    @given(operations=st.lists(OPERATIONS, max_size=40))
    def test_any_operations_give_what_the_model_gives(
        self, make_store: MakeStore, operations: list[tuple[Any, ...]]
    ) -> None:
        store, model = make_store(), Model()
        for operation in operations:
            apply(operation, store, model)
            check_changes(store, model)
            assert store.changelog_offset == model.offset
        assert list(store.scan()) == model.scan(b"", None)
        store.close()

    @settings(suppress_health_check=SHARED, deadline=None, max_examples=40)
    @given(operations=st.lists(OPERATIONS, max_size=40))
    def test_the_changelog_alone_rebuilds_the_store(
        self, make_store: MakeStore, operations: list[tuple[Any, ...]]
    ) -> None:
        """Method: keep what every commit hands out as changes; restoring all of it must give the same base."""
        store, model = make_store(), Model()
        changelog: list[tuple[bytes, bytes | None]] = []
        for operation in operations:
            if operation[0] == "commit":
                changelog += store.changes()
            elif operation[0] == "restore":
                changelog += operation[1]
            apply(operation, store, model)
        store.abort()
        rebuilt = make_store()
        rebuilt.restore(changelog, model.offset + len(changelog))
        assert list(rebuilt.scan()) == list(store.scan()) == sorted(model.base.items())

    @settings(suppress_health_check=SHARED, deadline=None, max_examples=40)
    @given(before=st.lists(OPERATIONS, max_size=20), during=st.lists(OPERATIONS, max_size=20))
    def test_a_scan_follows_changes_made_while_it_runs(
        self, make_store: MakeStore, before: list[tuple[Any, ...]], during: list[tuple[Any, ...]]
    ) -> None:
        """Method: one operation after each entry; every entry seen must be the model's next one at that moment."""
        store, model = make_store(), Model()
        for operation in before:
            apply(operation, store, model)
        writes = iter([o for o in during if o[0] in ("put", "put_many", "delete", "delete_many")])
        at, scan = b"", store.scan()
        while True:
            expected = model.scan(at, None)
            found = next(scan, None)
            assert found == (expected[0] if expected else None)
            if found is None:
                return
            at = found[0] + b"\0"
            for operation in list(next_of(writes)):
                apply(operation, store, model)

    def test_a_new_store_is_empty(self, make_store: MakeStore) -> None:
        store = make_store()
        assert (store.get(b"a"), list(store.scan()), store.changes(), store.changelog_offset) == (None, [], [], 0)

    def test_an_empty_value_is_no_deletion(self, make_store: MakeStore) -> None:
        store = make_store()
        store.put(b"k", b"")
        assert (store.get(b"k"), store.changes()) == (b"", [(b"k", b"")])
        store.commit(1)
        assert list(store.scan()) == [(b"k", b"")]

    def test_of_several_restored_changes_to_a_key_the_last_counts(self, make_store: MakeStore) -> None:
        store = make_store()
        store.restore([(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)], 4)
        assert list(store.scan()) == [(b"a", b"2")]

    def test_many_entries_stay_in_order(self, make_store: MakeStore) -> None:
        store = make_store()
        keys = [(i * 7919 % 10_007).to_bytes(2, "big") for i in range(5_000)]
        store.put_many(keys, keys)
        store.commit(5_000)
        for key in keys[::3]:
            store.delete(key)
        left = sorted(set(keys) - set(keys[::3]))
        assert [k for k, _ in store.scan()] == left
        middle = left[len(left) // 2]
        assert [k for k, _ in store.scan(middle)] == left[len(left) // 2 :]
        assert [k for k, _ in store.scan(b"", middle)] == left[: len(left) // 2]

    def test_the_generation_tells_of_changes_that_are_no_writes(self, make_store: MakeStore) -> None:
        store = make_store()
        first = store.generation
        store.put(b"a", b"1")
        store.delete(b"b")
        store.commit(1)
        assert store.generation == first
        store.put(b"a", b"2")
        store.abort()
        aborted = store.generation
        store.restore([(b"a", b"3")], 2)
        assert len({first, aborted, store.generation}) == 3

    def test_a_savepoint_is_the_transaction_as_it_was(self, make_store: MakeStore) -> None:
        store = make_store()
        store.put_many([b"a", b"b", b"c"], [b"1", b"1", b"1"])
        store.commit(1)
        store.put(b"a", b"2")
        store.delete(b"b")
        before, changes, generation = list(store.scan()), store.changes(), store.generation
        mark = store.savepoint()
        store.put_many([b"a", b"b", b"d"], [b"3", b"3", b"3"])
        store.delete(b"c")
        assert list(store.scan()) == [(b"a", b"3"), (b"b", b"3"), (b"d", b"3")]
        store.rollback(mark)
        assert (list(store.scan()), store.changes(), store.get(b"d")) == (before, changes, None)
        assert store.generation != generation
        store.put(b"d", b"4")
        store.commit(2)
        assert list(store.scan()) == [(b"a", b"2"), (b"c", b"1"), (b"d", b"4")]

    def test_what_no_record_of_a_changelog_can_hold_is_refused(self, make_store: MakeStore) -> None:
        store = make_store()
        store.put(b"", bytes(ENTRY_BYTES_MAX))
        store.put_many([bytes(1000), b""], [b"", bytes(ENTRY_BYTES_MAX)])
        with pytest.raises(EntryTooLarge, match=f"{ENTRY_BYTES_MAX + 1} bytes"):
            store.put(b"k", bytes(ENTRY_BYTES_MAX))
        with pytest.raises(EntryTooLarge, match=f"{ENTRY_BYTES_MAX + 1} bytes"):
            store.put_many([b"a", b"k"], [b"1", bytes(ENTRY_BYTES_MAX)])
        assert [k for k, _ in store.changes()] == [b"", bytes(1000)]
        encode_changes(store.changes())

    def test_unequal_numbers_of_keys_and_values_are_refused(self, make_store: MakeStore) -> None:
        store = make_store()
        with pytest.raises(StateError, match="2 keys and 1 values"):
            store.put_many([b"a", b"b"], [b"1"])
        assert store.changes() == []

    def test_the_changelog_offset_never_goes_back(self, make_store: MakeStore) -> None:
        store = make_store()
        store.restore([(b"a", b"1")], 7)
        store.put(b"b", b"2")
        with pytest.raises(StateError, match="7"):
            store.commit(6)
        store.abort()
        with pytest.raises(StateError, match="7"):
            store.restore([], 6)
        assert (store.changelog_offset, list(store.scan())) == (7, [(b"a", b"1")])

    def test_restoring_into_an_open_transaction_is_refused(self, make_store: MakeStore) -> None:
        store = make_store()
        store.put(b"a", b"1")
        with pytest.raises(StateError, match="transaction"):
            store.restore([(b"b", b"1")], 1)


def next_of(writes: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The next write, if one is left."""
    write = next(writes, None)
    if write is not None:
        yield write
