"""What is kept of each key of a wait for signals, in order of arrival: items that wait, signals that came early, and
ids of signals that counted.

State: `k ‖ key` -> the values of that key; `t ‖ time ‖ key` for each time at which one of them is due. What is kept of
a key is read and written when something of that key happens, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from streamflow.operators.alarms import NEVER, Alarms
from streamflow.operators.waiting import framed, split
from streamflow.sdk.state import StateStore

ITEM, SIGNAL, KNOWN = b"i", b"s", b"d"
_NAMED: Final = b"n"  # in state: an early signal with its id; those of earlier versions have none
ANYONE: Final = bytes(16)  # the execution of a signal that is for all of them
_LISTS, _AFTER_LISTS, _TIMES = b"k", b"l", b"t"
_HEAD: Final = 1 + 8 + 16
_ID: Final = 16


@dataclass(slots=True, eq=False)
class Kept:
    """An item that waits, an early signal, or the id of one that was heard. `who`: its execution, or the id, see
    `who`. `data`: it as state holds it, empty for one of this step, which stands in row `row` of its port.
    `id`: of an early signal that has one.
    """

    kind: bytes
    due_ms: int
    who: bytes
    data: bytes
    row: int = -1
    id: bytes = b""

    def encode(self, data: bytes) -> bytes:
        kind = _NAMED if self.id else self.kind
        return kind + self.due_ms.to_bytes(8, "big", signed=True) + self.who + self.id + data


class SignalLists:
    """The lists of a store; one for a store, as it remembers what is due next."""

    def __init__(self) -> None:
        self._alarms = Alarms(_TIMES)

    def load(self, store: StateStore, keys: Sequence[bytes]) -> dict[bytes, list[Kept]]:
        """What is kept of these distinct keys."""
        found = store.get_many([_LISTS + key for key in keys])
        return {k: [] if e is None else [_kept(v) for v in split(e)] for k, e in zip(keys, found, strict=True)}

    def all(self, store: StateStore) -> Iterator[tuple[bytes, list[Kept]]]:
        """What is kept of every key. Nothing may be changed meanwhile."""
        for name, entry in store.scan(_LISTS, _AFTER_LISTS):
            yield name[len(_LISTS) :], [_kept(value) for value in split(entry)]

    def keep(
        self,
        store: StateStore,
        before: Mapping[bytes, Iterable[int]],
        after: Mapping[bytes, Sequence[tuple[Kept, bytes]]],
    ) -> None:
        """`before`: times for which alarms are set, by key. `after`: what is kept now, with its data."""
        names: list[bytes] = []
        values: list[bytes] = []
        gone: list[bytes] = []
        first_ms = NEVER
        for key, kept in after.items():
            if kept:
                names.append(_LISTS + key)
                values.append(b"".join(framed(one.encode(data)) for one, data in kept))
            else:
                gone.append(_LISTS + key)
            times = {one.due_ms for one, _ in kept if one.due_ms < NEVER}
            had = set(before[key])
            for due_ms in times - had:
                names.append(self._alarms.name(due_ms, key))
                values.append(b"")
                first_ms = min(first_ms, due_ms)
            gone += [self._alarms.name(due_ms, key) for due_ms in had - times]
        store.put_many(names, values)
        store.delete_many(gone)
        if first_ms < NEVER:
            self._alarms.put(store, first_ms)

    def next_ms(self, store: StateStore) -> int | None:
        return self._alarms.next_ms(store)

    def ringing(self, store: StateStore, now_ms: int) -> list[tuple[int, bytes]]:
        """(time, key) of what is due, in order; these alarms are gone."""
        return [(due_ms, key) for due_ms, key, _ in self._alarms.take(store, now_ms)]

    @staticmethod
    def read(entries: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, Kept]]:
        """(key, value) of all entries of a store."""
        lists = [(name[len(_LISTS) :], entry) for name, entry in entries if name.startswith(_LISTS)]
        return [(key, _kept(value)) for key, entry in lists for value in split(entry)]


def who(execution: str) -> bytes:
    """An execution, or the id of a signal, in 16 bytes, never ANYONE."""
    return blake2b(execution.encode(), digest_size=16).digest()


def times_of(kept: Iterable[Kept]) -> set[int]:
    """The times for which alarms are set."""
    return {one.due_ms for one in kept if one.due_ms < NEVER}


def without(kept: Sequence[Kept], over: Collection[Kept]) -> list[Kept]:
    """What is left when some are over. The id of an early signal goes with it: as it answered nothing, another signal
    of that id is no repeat.
    """
    left: list[Kept] = []
    for one in kept:
        if one not in over:
            left.append(one)
        elif one.id:
            # What is known of this id before it, it made known; what comes behind it, another one did, later.
            left = [before for before in left if before.kind != KNOWN or before.who != one.id]
    return left


def _kept(value: bytes) -> Kept:
    kind, due_ms, who = value[:1], int.from_bytes(value[1:9], "big", signed=True), value[9:_HEAD]
    if kind == _NAMED:
        return Kept(SIGNAL, due_ms, who, value[_HEAD + _ID :], id=value[_HEAD : _HEAD + _ID])
    return Kept(kind, due_ms, who, value[_HEAD:])
