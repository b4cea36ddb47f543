"""What all stores have in common: the open transaction as an overlay over a committed base, wherever that is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from streamflow.sdk.errors import EntryTooLarge, StateError
from streamflow.state.changelog import ENTRY_BYTES_MAX
from streamflow.state.reduced import Reduced, reduced
from streamflow.state.sorted_keys import SortedKeys

Change = tuple[bytes, bytes | None]  # None: deleted


class OverlaidStore(ABC):
    """`sdk.state.TransactionalStore` but for the base. Not for concurrent use: a task owns its stores.

    A scan follows changes: it may be written to while it runs, and shows each entry as it is when the scan gets there.
    """

    __slots__ = ("_changelog_offset", "_generation", "_overlay", "_overlay_order", "_version", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._overlay: dict[bytes, bytes | None] = {}  # None: deleted in this transaction
        self._overlay_order = LazyOrder()
        self._changelog_offset = 0
        self._generation = 0
        self._version = 0  # of the key set; a scan that sees another one finds its place anew

    # The base

    @abstractmethod
    def _base_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Committed values in the order of `keys`."""

    @abstractmethod
    def _base_scan(self, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Committed entries with first <= key < end, in order. The base does not change while one is used."""

    @abstractmethod
    def _base_apply(self, changes: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Take a transaction's changes in, and the offset with them: both or neither."""

    @abstractmethod
    def _base_load(self, changes: Reduced, changelog_offset: int) -> None:
        """Take in what was read from the changelog, and the offset with it: both or neither."""

    # Reading

    def get(self, key: bytes) -> bytes | None:
        return self._overlay[key] if key in self._overlay else self._base_many((key,))[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        overlay = self._overlay
        if not overlay:
            return self._base_many(keys)
        found = iter(self._base_many([key for key in keys if key not in overlay]))
        return [overlay[key] if key in overlay else next(found) for key in keys]

    def scan(self, first: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        at = first
        while True:
            version, changed = self._version, False
            for key, value in self._merged(at, end):
                yield key, value
                if self._version != version:
                    at, changed = key + b"\0", True  # the next possible key
                    break
            if not changed:
                return

    def _merged(self, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        overlay = self._overlay
        base = self._base_scan(first, end)
        if not overlay:
            yield from base
            return
        mine = until(self._overlay_order.keys(overlay).runs(first), end)
        here = next(mine, None)
        for key, value in base:
            while here is not None and here <= key:
                # Read now: a value may change without the set of keys.
                if (written := overlay[here]) is not None:
                    yield here, written
                at, here = here, next(mine, None)
                if at == key:
                    break
            else:
                yield key, value
        while here is not None:
            if (written := overlay[here]) is not None:
                yield here, written
            here = next(mine, None)

    # Writing

    def put(self, key: bytes, value: bytes) -> None:
        if len(key) + len(value) > ENTRY_BYTES_MAX:
            raise self._too_large(len(key) + len(value))
        self._set(key, value)

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        if len(keys) != len(values):
            raise StateError(f"store {self.name!r}: put_many got {len(keys)} keys and {len(values)} values.")
        if keys and max(map(len, keys)) + max(map(len, values)) > ENTRY_BYTES_MAX:
            largest = max(len(key) + len(value) for key, value in zip(keys, values, strict=True))
            if largest > ENTRY_BYTES_MAX:
                raise self._too_large(largest)
        for key, value in zip(keys, values, strict=True):
            self._set(key, value)

    def delete(self, key: bytes) -> None:
        self.delete_many((key,))

    def delete_many(self, keys: Sequence[bytes]) -> None:
        overlay = self._overlay
        there = [key for key in keys if overlay.get(key, b"") is not None]
        for key, old in zip(there, self._base_many(there), strict=True):
            if old is not None:
                self._set(key, None)
            elif key in overlay:
                # Put and deleted within one transaction: as if it had never been, in the changelog too.
                self._unset(key)

    def _too_large(self, size_bytes: int) -> EntryTooLarge:
        return EntryTooLarge(
            f"an entry of the store would take {size_bytes} bytes, more than the {ENTRY_BYTES_MAX} that a record of "
            "its changelog may have.",
            mend="Keep less per key: a shorter window, fewer fields, or a finer key.",
        )

    def _set(self, key: bytes, value: bytes | None) -> None:
        if key not in self._overlay:
            self._overlay_order.changed(key)
            self._version += 1
        self._overlay[key] = value

    def _unset(self, key: bytes) -> None:
        del self._overlay[key]
        self._overlay_order.changed(key)
        self._version += 1

    # Transactions

    def changes(self) -> list[Change]:
        return sorted(self._overlay.items())

    def commit(self, changelog_offset: int) -> None:
        self._check_offset(changelog_offset)
        self._base_apply(self._overlay, changelog_offset)
        self._changelog_offset = changelog_offset
        self._drop_overlay()

    def abort(self) -> None:
        self._drop_overlay()
        self._generation += 1

    def savepoint(self) -> object:
        return dict(self._overlay)

    def rollback(self, savepoint: object) -> None:
        assert isinstance(savepoint, dict)
        self._drop_overlay()
        self._overlay = savepoint
        self._overlay_order.all_changed()
        self._generation += 1

    def restore(self, entries: Sequence[Change], changelog_offset: int) -> None:
        keys = pl.Series([key for key, _ in entries], dtype=pl.Binary)
        self.restore_columns(keys, pl.Series([value for _, value in entries], dtype=pl.Binary), changelog_offset)

    def restore_columns(self, keys: pl.Series, values: pl.Series, changelog_offset: int) -> None:
        if self._overlay:
            raise StateError(f"store {self.name!r}: restore while a transaction is open.", mend="Abort it first.")
        self._check_offset(changelog_offset)
        self._base_load(reduced(keys, values), changelog_offset)
        self._changelog_offset = changelog_offset
        self._version += 1
        self._generation += 1

    @property
    def changelog_offset(self) -> int:
        return self._changelog_offset

    @property
    def generation(self) -> int:
        return self._generation

    def _drop_overlay(self) -> None:
        self._overlay = {}
        self._overlay_order = LazyOrder()
        self._version += 1

    def _check_offset(self, changelog_offset: int) -> None:
        if changelog_offset < self._changelog_offset:
            raise StateError(
                f"store {self.name!r} is at changelog offset {self._changelog_offset}, was given {changelog_offset}.",
                mend="The changelog topic was deleted or cut; reset the workflow's state.",
            )


class LazyOrder:
    """The sorted keys of a dict, brought up to date when asked for: a store that is never scanned never sorts."""

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
            self.all_changed()

    def all_changed(self) -> None:
        """More than is worth telling one by one."""
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


def until(runs: Iterator[list[bytes]], end: bytes | None) -> Iterator[bytes]:
    """Keys of sorted runs below `end`."""
    for run in runs:
        if end is not None and run[-1] >= end:
            yield from run[: bisect_left(run, end)]
            return
        yield from run
