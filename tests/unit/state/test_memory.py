"""What MemoryStore promises beyond the conformance suite: accounting, bounds, order kept lazily."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.sdk.errors import StateError
from streamflow.state.memory import ENTRY_OVERHEAD_BYTES, MemoryStore
from streamflow.state.sorted_keys import BLOCK_MAX, SortedKeys


def test_size_counts_keys_values_and_overhead() -> None:
    store = MemoryStore()
    store.put(b"key", b"value")
    assert store.size_bytes == 8 + ENTRY_OVERHEAD_BYTES
    store.put(b"key", b"v")
    store.commit(1)
    assert store.size_bytes == 4 + ENTRY_OVERHEAD_BYTES
    store.delete(b"key")
    store.commit(2)
    assert store.size_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("pdca"), st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_size_is_what_a_recount_gives(operations: list[tuple[str, int, int]]) -> None:
    store, offset = MemoryStore(), 0
    for kind, key, size in operations:
        match kind:
            case "p":
                store.put(b"%d" % key, bytes(size))
            case "d":
                store.delete(b"%d" % key)
            case "c":
                store.commit(offset := offset + 1)
            case _:
                store.abort()
        assert len(store) == len(list(store.scan()))
    store.commit(offset)
    assert store.size_bytes == sum(len(k) + len(v) + ENTRY_OVERHEAD_BYTES for k, v in store.scan())


def test_a_store_that_grows_past_its_bound_says_so_and_can_be_rolled_back() -> None:
    store = MemoryStore("seen", size_bytes_max=1000)
    store.put(b"a", bytes(100))
    store.commit(1)
    with pytest.raises(StateError, match=r"'seen' holds .* size_bytes_max=1000"):
        store.put(b"b", bytes(900))
    store.abort()
    assert list(store.scan()) == [(b"a", bytes(100))]


def test_a_key_put_and_deleted_in_one_transaction_leaves_no_change() -> None:
    store = MemoryStore()
    store.put(b"a", b"1")
    store.delete(b"a")
    store.delete(b"never there")
    assert store.changes() == []


def test_close_lets_the_memory_go() -> None:
    store = MemoryStore()
    store.put(b"a", b"1")
    store.commit(1)
    store.close()
    assert (store.size_bytes, list(store.scan())) == (0, [])


def test_sorted_keys_over_many_splits_and_removals() -> None:
    """Method: random insertions and removals over several blocks, against a set."""
    random = np.random.default_rng(3)
    keys, expected = SortedKeys(), set[bytes]()
    for number in random.integers(0, 6000, 12_000):
        key = int(number).to_bytes(2, "big")
        if random.random() < 0.7:
            keys.add(key)
            expected.add(key)
        else:
            keys.discard(key)
            expected.discard(key)
    ordered = sorted(expected)
    assert len(ordered) > 2 * BLOCK_MAX
    for first in (b"", ordered[0], ordered[1500], ordered[1500] + b"\0", ordered[-1], b"\xff\xff"):
        found = [k for run in keys.runs(first) for k in run]
        assert found == [k for k in ordered if k >= first]
    assert len(keys) == len(ordered)
    for key in ordered:
        keys.discard(key)
    assert list(keys.runs(b"")) == []
