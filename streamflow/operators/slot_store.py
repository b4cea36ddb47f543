"""What a store of slots holds.

`q ‖ rank ‖ number` -> a row that waits, behind its key and execution; `h ‖ execution` -> rows of it that are left,
since when, its key; `#` -> the next number, and when the rate lets the next one go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.slot_queue import RANK_MAX, Queued
from streamflow.operators.waiting import waiting_rows
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

QUEUED: Final = b"q"
HELD: Final = b"h"
_COUNT: Final = b"#"


@dataclass(slots=True)
class Held:
    """An execution that has a slot. `left`: rows of it that are somewhere."""

    left: int
    since_ms: int
    key: bytes

    def encode(self) -> bytes:
        return self.left.to_bytes(8, "big", signed=True) + self.since_ms.to_bytes(8, "big", signed=True) + self.key

    @classmethod
    def decode(cls, data: bytes) -> Held:
        number = int.from_bytes
        return cls(number(data[:8], "big", signed=True), number(data[8:16], "big", signed=True), data[16:])


def counted(store: StateStore) -> tuple[int, int]:
    """The next number of one that waits, and when the rate lets the next one go on, in ns since 1970."""
    found = store.get(_COUNT) or bytes(16)
    return int.from_bytes(found[:8], "big"), int.from_bytes(found[8:], "big")


def count(store: StateStore, number: int, next_ns: int) -> None:
    """Keep what `counted` gives."""
    store.put(_COUNT, number.to_bytes(8, "big") + next_ns.to_bytes(8, "big"))


def held_in(store: StateStore) -> Iterator[tuple[str, Held]]:
    """Executions that have a slot."""
    for name, value in store.scan(HELD, _after(HELD)):
        yield name[1:].decode(), Held.decode(value)


def queued_in(store: StateStore) -> Iterator[Queued]:
    """Those that wait."""
    for name, value in store.scan(QUEUED, _after(QUEUED)):
        yield Queued(*_read(name), entry(value)[0])


def name_of(one: Queued) -> bytes:
    return QUEUED + (one.rank + 2 * RANK_MAX).to_bytes(8, "big") + one.number.to_bytes(8, "big")


def _read(name: bytes) -> tuple[int, int]:
    """Rank and number of an entry of the queue."""
    return int.from_bytes(name[1:9], "big") - 2 * RANK_MAX, int.from_bytes(name[9:17], "big")


def framed(key: bytes, execution: str) -> bytes:
    told = execution.encode()
    return len(key).to_bytes(4, "big") + key + len(told).to_bytes(4, "big") + told


def entry(value: bytes) -> tuple[bytes, str, bytes]:
    """Key, execution and row of an entry of the queue."""
    end = 4 + int.from_bytes(value[:4], "big")
    size = int.from_bytes(value[end : end + 4], "big")
    return value[4:end], value[end + 4 : end + 4 + size].decode(), value[end + 4 + size :]


def _after(prefix: bytes) -> bytes:
    """Behind all names that begin with a prefix of one byte."""
    return bytes([prefix[0] + 1])


def shown(entries_of: Sequence[tuple[bytes, bytes]], rows_of: KeptRows) -> pl.DataFrame:
    """Entries of a store as `sdk.state.ReadsState` gives them: who has a slot, and who waits."""
    entries = [(name, entry(value)) for name, value in entries_of if name.startswith(QUEUED)]
    rows = waiting_rows(
        rows_of.decode([data for _, (_, _, data) in entries]), [None] * len(entries),
        [key or None for _, (key, _, _) in entries],
    )  # fmt: skip
    waiting = rows.drop("@due").with_columns(
        pl.Series("@place", range(1, len(entries) + 1), dtype=pl.Int64),
        pl.lit("waiting").alias("@is"),
    )
    held = [(name[1:].decode(), Held.decode(value)) for name, value in entries_of if name.startswith(HELD)]
    under_way = pl.DataFrame(
        [
            pl.Series(STATE_KEY, [one.key or None for _, one in held], dtype=pl.Binary),
            pl.Series("@is", ["under way"] * len(held), dtype=pl.String),
            pl.Series(EXECUTION, [execution for execution, _ in held], dtype=pl.String),
            pl.Series("@since", [one.since_ms for _, one in held], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            pl.Series("@rows", [one.left for _, one in held], dtype=pl.Int64),
        ]
    )
    both = pl.concat([under_way, waiting], how="diagonal")
    first = [c for c in (STATE_KEY, STATE_FROM, STATE_TO, "@is", "@place") if c in both.columns]
    return both.select(*first, *(c for c in both.columns if c not in first))
