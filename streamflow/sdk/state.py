"""State stores: what operators remember, in step with the task's transaction.

Reads see the overlay of the open transaction over the committed base. The runtime writes the overlay's changes to the
changelog
topic in the same transaction as outputs and offsets; after the commit it applies them with the changelog offset in
one go;
an abort drops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import polars as pl


class StateStore(Protocol):
    """A sorted map of bytes to bytes. Order is bytewise."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of `keys`."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Raises EntryTooLarge, as `put_many`, for what no record of the changelog can hold; nothing is written."""
        ...

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None: ...

    def delete(self, key: bytes) -> None: ...

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Harmless for keys that are not there."""
        ...

    def scan(self, first: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Entries with first <= key < end, in order."""
        ...

    @property
    def generation(self) -> int:
        """Another number whenever entries have changed in another way than by `put` and `delete`: after an abort, a
        rollback and a restore. What an operator keeps of its entries besides the store is void then.
        """
        ...


class TransactionalStore(StateStore, Protocol):
    """What the runtime drives: base plus overlay."""

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Overlay entries since the last commit or abort, in key order; None is a deletion."""
        ...

    def commit(self, changelog_offset: int) -> None:
        """Apply the overlay and remember the changelog position it is in, atomically."""
        ...

    def abort(self) -> None:
        """Drop the overlay."""
        ...

    def savepoint(self) -> object:
        """The overlay as it is; costs as much as the overlay is large."""
        ...

    def rollback(self, savepoint: object) -> None:
        """Back to a savepoint of this transaction, which is used up by it."""
        ...

    def restore(self, entries: Sequence[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Apply changelog records read from the log up to `changelog_offset` (exclusive)."""
        ...

    def restore_columns(self, keys: pl.Series, values: pl.Series, changelog_offset: int) -> None:
        """The same of many records at once: two columns of bytes in order of offsets; a null value is a deletion."""
        ...

    @property
    def changelog_offset(self) -> int:
        """Changelog records below this offset are in the base; 0 for an empty store."""
        ...

    def close(self) -> None: ...


STATE_KEY: Final = "@key"
STATE_FROM: Final = "@from"
STATE_TO: Final = "@to"


@runtime_checkable
class ReadsState(Protocol):
    """An operator that can say what entries of its stores mean: `streamflow state` shows them."""

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Committed entries as rows. `stores`: all entries of one partition by store, in order of their keys.

        Columns: STATE_KEY (Binary: the key that rows are partitioned by; null where there is none), STATE_FROM and
        STATE_TO (Int64, event time in ms: the window from its start to before its end; null where there is none), and
        the values under names of their own.
        """
        ...


class Timers(Protocol):
    """Event-time timers of a task: fire between rows, before the row whose watermark crosses them. Kept in a store."""

    def set(self, at_ms: int, key: bytes) -> None:
        """Set a timer; the same (at_ms, key) twice is one timer."""
        ...

    def cancel(self, at_ms: int, key: bytes) -> None: ...

    def due(self, watermark_ms: int) -> list[tuple[int, bytes]]:
        """Remove and return timers with at_ms <= watermark_ms, in order of (at_ms, key)."""
        ...

    def next_ms(self) -> int | None: ...
