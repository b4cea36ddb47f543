"""Entries by their time: what is due is found, in order, and nothing else is looked at."""

from __future__ import annotations

import random
from collections.abc import Iterator

from streamflow.operators.alarms import Alarms
from streamflow.state.memory import MemoryStore


class Watched(MemoryStore):
    """Counts the entries that scans went through in the base."""

    __slots__ = ("seen",)

    def _base_scan(self, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for entry in super()._base_scan(first, end):
            self.seen += 1
            yield entry


def filled(store: MemoryStore, times: list[int]) -> Alarms:
    made = Alarms(b"t")
    for n, at in enumerate(times):
        store.put(made.name(at, n.to_bytes(4, "big")), b"v")
        made.put(store, at)
    return made


def test_what_is_due_comes_in_order_of_time() -> None:
    store, draw = MemoryStore(), random.Random(1)
    times = [draw.randrange(-50, 50) for _ in range(200)]
    made = filled(store, times)
    assert made.next_ms(store) == min(times)
    got: list[int] = []
    for now in range(-60, 60, 7):
        got += [at for at, _, _ in made.take(store, now)]
        assert made.next_ms(store) == min((t for t in times if t > now), default=None)
    assert got == sorted(times)


def test_it_looks_anew_when_the_store_was_changed_from_outside() -> None:
    store = MemoryStore()
    made = filled(store, [5, 9])
    store.commit(1)
    assert [at for at, _, _ in made.take(store, 5)] == [5]
    assert made.next_ms(store) == 9
    store.abort()
    assert made.next_ms(store) == 5
    assert Alarms(b"t").next_ms(store) == 5


def test_a_time_that_lies_back_is_found() -> None:
    """The clock went back: what is put then may be due before what was taken already."""
    store = MemoryStore()
    made = filled(store, [10])
    assert made.take(store, 20)
    store.put(made.name(7, b""), b"v")
    made.put(store, 7)
    assert made.next_ms(store) == 7
    assert [at for at, _, _ in made.take(store, 20)] == [7]


def test_a_wake_costs_what_is_due() -> None:
    store = Watched()
    store.seen = 0
    made = filled(store, list(range(10_000)))
    store.commit(1)
    store.seen = 0
    for now in range(1_000):  # deleted in this transaction, and in the base still
        assert len(made.take(store, now)) == 1
    assert store.seen < 6_000


def test_a_lot_is_taken_in_parts() -> None:
    store = MemoryStore()
    made = filled(store, [1, 1, 1, 1, 2, 8])
    assert [at for at, _, _ in made.take(store, 5, entries_max=3)] == [1, 1, 1]
    assert made.next_ms(store) == 1
    assert [at for at, _, _ in made.take(store, 5, entries_max=3)] == [1, 2]
    assert made.take(store, 5) == []
    assert made.next_ms(store) == 8
