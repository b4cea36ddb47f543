"""Entries of a store that are named by the wall time at which they are due.

Bytewise order of their names is that of time, so what is due stands at the front, and looking for it costs as much as
is due, however much waits. What is next is known without a look into the store.
"""

from __future__ import annotations

from typing import Final

from streamflow.sdk.state import StateStore

NEVER: Final = 2**62  # due at no time; what is put for it is never found
ENTRIES_MAX: Final = 20_000  # that are taken at once
BYTES_MAX: Final = 8 << 20
_SHIFT: Final = 1 << 63  # moves signed times to unsigned ones: bytewise order is then the order of time
_UNKNOWN: Final = -1


class Alarms:
    """Entries whose names begin with `prefix`; nothing else in the store may be named so. One for a store and prefix.

    It remembers the time of the first of them and below which there is none, and looks anew when the store was changed
    from outside (see `StateStore.generation`).
    """

    __slots__ = ("_floor_ms", "_generation", "_next_ms", "_prefix")

    def __init__(self, prefix: bytes) -> None:
        self._prefix, self._generation = prefix, _UNKNOWN
        self._next_ms: int | None = None
        self._floor_ms = -NEVER

    def name(self, due_ms: int, rest: bytes) -> bytes:
        """The name of an entry. Whoever puts one says so with `put`."""
        return self._prefix + (due_ms + _SHIFT).to_bytes(8, "big") + rest

    def put(self, store: StateStore, due_ms: int) -> None:
        """An entry was put that is due at that time."""
        next_ms = self.next_ms(store)
        self._floor_ms = min(self._floor_ms, due_ms)
        self._next_ms = due_ms if next_ms is None else min(next_ms, due_ms)

    def next_ms(self, store: StateStore) -> int | None:
        """When the first entry is due, or earlier where it is there no more; None: nothing waits."""
        if store.generation != self._generation:
            self._generation, self._floor_ms = store.generation, -NEVER
            self._look(store)
        return self._next_ms

    def take(
        self, store: StateStore, now_ms: int, *, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX
    ) -> list[tuple[int, bytes, bytes]]:
        """Remove and return what is due by then, in order: (time, rest of its name, value).

        At most `entries_max` entries, and no more once they have `bytes_max`: what is left is due still.
        """
        self.next_ms(store)
        found: list[tuple[bytes, bytes]] = []
        size_bytes, floor_ms = 0, now_ms + 1
        for name, value in store.scan(self.name(self._floor_ms, b""), self.name(now_ms + 1, b"")):
            if len(found) >= entries_max or size_bytes >= bytes_max:
                floor_ms = self.read(name)[0]
                break
            found.append((name, value))
            size_bytes += len(value)
        store.delete_many([name for name, _ in found])
        self._floor_ms = max(self._floor_ms, floor_ms)
        self._look(store)
        return [(*self.read(name), value) for name, value in found]

    def read(self, name: bytes) -> tuple[int, bytes]:
        """Time and rest of a name."""
        at = len(self._prefix)
        return int.from_bytes(name[at : at + 8], "big") - _SHIFT, name[at + 8 :]

    def _look(self, store: StateStore) -> None:
        entry = next(store.scan(self.name(self._floor_ms, b""), self.name(NEVER, b"")), None)
        self._next_ms = None if entry is None else self.read(entry[0])[0]
