"""A state store in memory: the committed base in a dict, the open transaction in an overlay above it.

Reads and writes cost a dict access. The sorted view that scans need is kept lazily.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streamflow.sdk.errors import StateError
from streamflow.state.overlay import LazyOrder, OverlaidStore, until
from streamflow.state.reduced import Reduced

# Two bytes objects and a dict slot, measured on CPython 3.11; keeps `size_bytes` near what the process really holds.
ENTRY_OVERHEAD_BYTES = 2 * 33 + 100
SIZE_BYTES_MAX = 2 << 30


class MemoryStore(OverlaidStore):
    """Implements `sdk.state.TransactionalStore`."""

    __slots__ = ("_base", "_base_order", "_base_size", "_overlay_size", "_size_max")

    def __init__(self, name: str = "", *, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        super().__init__(name)
        self._size_max = size_bytes_max
        self._base: dict[bytes, bytes] = {}
        self._base_order = LazyOrder()
        self._base_size = self._overlay_size = 0

    def get(self, key: bytes) -> bytes | None:
        return self._overlay[key] if key in self._overlay else self._base.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        base, overlay = self._base, self._overlay
        if not overlay:
            return [base.get(key) for key in keys]
        return [overlay[key] if key in overlay else base.get(key) for key in keys]

    def put(self, key: bytes, value: bytes) -> None:
        super().put(key, value)
        self._check_size()

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        super().put_many(keys, values)
        self._check_size()

    @property
    def size_bytes(self) -> int:
        """Estimated memory in use: base and overlay, overhead included."""
        return self._base_size + self._overlay_size

    def __len__(self) -> int:
        """Entries in the base and the overlay together; O(overlay)."""
        base = self._base
        return len(base) + sum((value is not None) - (key in base) for key, value in self._overlay.items())

    def clear(self) -> None:
        """Be as it was when it was made."""
        self.abort()
        self._base, self._base_order, self._base_size = {}, LazyOrder(), 0
        self._changelog_offset = 0

    def close(self) -> None:
        """Let the memory go."""
        self.abort()
        self._base, self._base_order, self._base_size = {}, LazyOrder(), 0

    def _set(self, key: bytes, value: bytes | None) -> None:
        overlay = self._overlay  # not by way of the base class: this is the path that every entry takes
        if key in overlay:
            self._overlay_size -= _size(key, overlay[key])
        else:
            self._overlay_order.changed(key)
            self._version += 1
        overlay[key] = value
        self._overlay_size += _size(key, value)

    def _unset(self, key: bytes) -> None:
        self._overlay_size -= _size(key, self._overlay[key])
        super()._unset(key)

    def _drop_overlay(self) -> None:
        super()._drop_overlay()
        self._overlay_size = 0

    def rollback(self, savepoint: object) -> None:
        super().rollback(savepoint)
        self._overlay_size = sum(_size(key, value) for key, value in self._overlay.items())

    def _check_size(self) -> None:
        if self.size_bytes > self._size_max:
            raise StateError(
                f"store {self.name!r} holds {self.size_bytes} bytes, more than its size_bytes_max={self._size_max}.",
                mend="Keep it on disk with `--state rocksdb`, shorten its retention, or use more partitions.",
            )

    def _base_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._base.get(key) for key in keys]

    def _base_scan(self, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        base = self._base
        for key in until(self._base_order.keys(base).runs(first), end):
            yield key, base[key]

    def _base_apply(self, changes: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        del changelog_offset  # kept by the store itself
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

    def _base_load(self, changes: Reduced, changelog_offset: int) -> None:
        del changelog_offset
        base, keys, values = self._base, changes.keys, changes.values
        gone = values.is_null()
        if base:
            replaced = [(key, base[key]) for key in keys.to_list() if key in base]
            self._base_size -= sum(_size(key, old) for key, old in replaced)
            for key in keys.filter(gone).to_list():
                base.pop(key, None)
        if gone.any():
            keys, values = keys.filter(~gone), values.filter(~gone)
        # Sorted runs of keys: the dict keeps them as such, and sorting it is cheap when a scan asks for it.
        base.update(zip(keys.to_list(), values.to_list(), strict=True))
        bytes_in = int(keys.bin.size().sum() or 0) + int(values.bin.size().sum() or 0)
        self._base_size += bytes_in + ENTRY_OVERHEAD_BYTES * len(keys)
        self._base_order.all_changed()
        self._check_size()


def _size(key: bytes, value: bytes | None) -> int:
    return len(key) + (len(value) if value is not None else 0) + ENTRY_OVERHEAD_BYTES
