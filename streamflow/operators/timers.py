"""Event-time timers kept in a state store, so that they commit, abort and restore with everything else."""

from __future__ import annotations

from streamflow.sdk.errors import StateError
from streamflow.sdk.state import StateStore

_SHIFT = 1 << 63  # moves signed times to unsigned ones: bytewise order is then the order of time


class StoreTimers:
    """Implements `sdk.state.Timers`. Keys are `prefix`, the time as 8 sortable bytes, and the timer's key.

    `prefix` lets timers share a store with other entries; nothing else may use keys that start with it.
    """

    __slots__ = ("_prefix", "_store")

    def __init__(self, store: StateStore, *, prefix: bytes = b"") -> None:
        self._store, self._prefix = store, prefix

    def set(self, at_ms: int, key: bytes) -> None:
        self._store.put(self._name(at_ms, key), b"")

    def cancel(self, at_ms: int, key: bytes) -> None:
        self._store.delete(self._name(at_ms, key))

    def due(self, watermark_ms: int) -> list[tuple[int, bytes]]:
        names = [name for name, _ in self._store.scan(self._prefix, self._after(watermark_ms))]
        self._store.delete_many(names)
        return [self._read(name) for name in names]

    def next_ms(self) -> int | None:
        for name, _ in self._store.scan(self._prefix, self._after(_SHIFT - 1)):
            return self._read(name)[0]
        return None

    def _name(self, at_ms: int, key: bytes) -> bytes:
        return self._prefix + _sortable(at_ms) + key

    def _after(self, at_ms: int) -> bytes | None:
        """The least key above all timers of `at_ms` and earlier ones; None if every key is below."""
        if at_ms < _SHIFT - 1:
            return self._prefix + _sortable(at_ms + 1)
        stem = self._prefix.rstrip(b"\xff")
        return stem[:-1] + bytes([stem[-1] + 1]) if stem else None

    def _read(self, name: bytes) -> tuple[int, bytes]:
        body = name[len(self._prefix) :]
        return int.from_bytes(body[:8], "big") - _SHIFT, body[8:]


def _sortable(at_ms: int) -> bytes:
    if not -_SHIFT <= at_ms < _SHIFT:
        raise StateError(f"a timer at {at_ms} ms lies outside 64 bits.", mend="Check the event times it came from.")
    return (at_ms + _SHIFT).to_bytes(8, "big")
