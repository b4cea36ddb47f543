"""A state store in memory: the committed base in a dict, the open transaction in an overlay above it.

Reads and writes cost a dict access. The sorted view that scans need is kept lazily: keys that came or went since the
last scan wait in a set and are sorted in when a scan asks, so a store that is never scanned never sorts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge

from streamflow.sdk.errors import StateError
from streamflow.state.sorted_keys import SortedKeys

# Two bytes objects and a dict slot, measured on CPython 3.11; keeps `size_bytes` near what the process really holds.
ENTRY_OVERHEAD_BYTES = 2 * 33 + 100
SIZE_BYTES_MAX = 2 << 30


class MemoryStore:
    """Implements `sdk.state.TransactionalStore`. Not for concurrent use: a task owns its stores.

    A scan follows changes: it may be written to while it runs, and shows each entry as it is when the scan gets there.
    """

    __slots__ = ("_base", "_base_order", "_base_size", "_changelog_offset", "_generation", "_overlay",
                 "_overlay_order", "_overlay_size", "_size_max", "_version", "name")  # fmt: skip

    def __init__(self, name: str = "", *, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self.name = name
        self._size_max = size_bytes_max
        self._base: dict[bytes, bytes] = {}
        self._overlay: dict[bytes, bytes | None] = {}  # None: deleted in this transaction
        self._base_order = _LazyOrder()
        self._overlay_order = _LazyOrder()
        self._base_size = self._overlay_size = 0
        self._changelog_offset = 0
        self._generation = 0
        self._version = 0  # of the key set; a scan that sees another one finds its place anew

    # Reading

    def get(self, key: bytes) -> bytes | None:
        return self._overlay[key] if key in self._overlay else self._base.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        base, overlay = self._base, self._overlay
        if not overlay:
            return [base.get(key) for key in keys]
        return [overlay[key] if key in overlay else base.get(key) for key in keys]

    def scan(self, first: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        at = first
        while True:
            version, changed = self._version, False
            for key in self._keys_from(at, end):
                value = self.get(key)
                if value is None:
                    continue
                yield key, value
                if self._version != version:
                    at, changed = key + b"\0", True  # the next possible key
                    break
            if not changed:
                return

    def _keys_from(self, first: bytes, end: bytes | None) -> Iterator[bytes]:
        base = self._base_order.keys(self._base).runs(first)
        if not self._overlay:
            yield from _until(base, end)
            return
        overlay = self._overlay_order.keys(self._overlay).runs(first)
        last: bytes | None = None
        for key in merge(_until(base, end), _until(overlay, end)):
            if key != last:
                yield key
            last = key

    # Writing

    def put(self, key: bytes, value: bytes) -> None:
        self._set(key, value)
        self._check_size()

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        if len(keys) != len(values):
            raise StateError(f"store {self.name!r}: put_many got {len(keys)} keys and {len(values)} values.")
        for key, value in zip(keys, values, strict=True):
            self._set(key, value)
        self._check_size()

    def delete(self, key: bytes) -> None:
        if key in self._base:
            self._set(key, None)
        elif key in self._overlay:
            # Put and deleted within one transaction: as if it had never been, in the changelog too.
            self._overlay_size -= _size(key, self._overlay.pop(key))
            self._overlay_order.changed(key)
            self._version += 1

    def _set(self, key: bytes, value: bytes | None) -> None:
        overlay = self._overlay
        if key in overlay:
            self._overlay_size -= _size(key, overlay[key])
        else:
            self._overlay_order.changed(key)
            self._version += 1
        overlay[key] = value
        self._overlay_size += _size(key, value)

    def _check_size(self) -> None:
        if self._base_size + self._overlay_size > self._size_max:
            raise StateError(
                f"store {self.name!r} holds {self.size_bytes} bytes, more than its size_bytes_max={self._size_max}.",
                mend="Shorten its retention, use more partitions, or allow it more memory.",
            )

    # Transactions

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        return sorted(self._overlay.items())

    def commit(self, changelog_offset: int) -> None:
        self._check_offset(changelog_offset)
        self._apply(self._overlay)
        self._changelog_offset = changelog_offset
        self._begin()

    def abort(self) -> None:
        self._begin()
        self._generation += 1

    def _begin(self) -> None:
        self._overlay = {}
        self._overlay_order = _LazyOrder()
        self._overlay_size = 0
        self._version += 1

    def restore(self, entries: Sequence[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        if self._overlay:
            raise StateError(f"store {self.name!r}: restore while a transaction is open.", mend="Abort it first.")
        self._check_offset(changelog_offset)
        self._apply(dict(entries))  # of several changes to one key the last counts
        self._changelog_offset = changelog_offset
        self._version += 1
        self._generation += 1
        self._check_size()

    @property
    def changelog_offset(self) -> int:
        return self._changelog_offset

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def size_bytes(self) -> int:
        """Estimated memory in use: base and overlay, overhead included."""
        return self._base_size + self._overlay_size

    def __len__(self) -> int:
        """Entries in the base and the overlay together; O(overlay)."""
        base = self._base
        return len(base) + sum((value is not None) - (key in base) for key, value in self._overlay.items())

    def close(self) -> None:
        """Let the memory go."""
        self.abort()
        self._base, self._base_order, self._base_size = {}, _LazyOrder(), 0

    def _apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        base, order = self._base, self._base_order
        for key, value in changes.items():
            old = base.get(key)
            if old is not None:
                self._base_size -= _size(key, old)
            if value is not None:
                base[key] = value
                self._base_size += _size(key, value)
            elif old is not None:
                del base[key]
            if (old is None) != (value is None):
                order.changed(key)

    def _check_offset(self, changelog_offset: int) -> None:
        if changelog_offset < self._changelog_offset:
            raise StateError(
                f"store {self.name!r} is at changelog offset {self._changelog_offset}, was given {changelog_offset}.",
                mend="The changelog topic was deleted or cut; reset the workflow's state.",
            )


class _LazyOrder:
    """The sorted keys of a dict, brought up to date when asked for."""

    __slots__ = ("_changed", "_keys", "_stale")

    def __init__(self) -> None:
        self._keys = SortedKeys()
        self._changed: set[bytes] = set()  # came or went since `keys` was last asked
        self._stale = False  # so many changed that sorting all is cheaper than placing each

    def changed(self, key: bytes) -> None:
        if self._stale:
            return
        self._changed.add(key)
        if len(self._changed) > 1024 + len(self._keys) // 8:
            self._stale, self._changed = True, set()

    def keys(self, now: Mapping[bytes, object]) -> SortedKeys:
        if self._stale:
            self._keys.replace(now)
            self._stale = False
        for key in self._changed:
            if key in now:
                self._keys.add(key)
            else:
                self._keys.discard(key)
        self._changed.clear()
        return self._keys


def _until(runs: Iterator[list[bytes]], end: bytes | None) -> Iterator[bytes]:
    for run in runs:
        if end is not None and run[-1] >= end:
            yield from run[: bisect_left(run, end)]
            return
        yield from run


def _size(key: bytes, value: bytes | None) -> int:
    return len(key) + (len(value) if value is not None else 0) + ENTRY_OVERHEAD_BYTES
