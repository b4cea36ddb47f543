"""What nodes that remember something of each key share: rows by key, and which of them come too late.

A row is late when its event time lies more than `grace_ms` below the watermark it came with. What a key's rows become
is then decided by rows that are not late alone, and nothing of it is forgotten before the last of those has come: how
a stream is cut into steps, and when a store is cleared, shows nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import TS, WM, Batch
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.keys import key_bytes
from streamflow.operators.window_rows import TIME_MS_MAX
from streamflow.operators.windowing import groups_of, nth_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Result
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
KEY_VALUE: Final = "key"  # the key among the expressions of a projection
_SHIFT: Final = 1 << 63


@dataclass(slots=True)
class Arrived:
    """Rows of a step that have a key and a time, and what became of the others.

    `group` numbers the distinct keys from 0 in order of first arrival; `names` are their bytes.
    """

    batch: Batch
    values: pl.DataFrame
    failures: list[Batch | None]
    filtered: int
    group: Int64s
    names: list[bytes]
    outputs: dict[str, Batch] = field(default_factory=dict)

    @property
    def ts(self) -> Int64s:
        return self.batch.frame[TS].to_numpy()

    @property
    def wm(self) -> Int64s:
        """Watermarks, with what is no time moved to where sums with durations fit."""
        marks: Int64s = self.batch.frame[WM].clip(-2 * TIME_MS_MAX, 2 * TIME_MS_MAX).to_numpy()
        return marks

    def result(self, *, absorbed: int = 0) -> Result:
        return Result(
            outputs=self.outputs, failed=join_failed(self.failures), filtered=self.filtered, absorbed=absorbed
        )


def arriving(batch: Batch, projection: Projection, labels: Mapping[str, str], *, grace_ms: int | None) -> Arrived:
    """Rows by the key, an expression of `projection` named KEY_VALUE. Rows without a key are filtered.

    Late rows leave by the port `late`; `grace_ms` None: no row is late. A row fails whose event time is missing, or so
    far off that nothing can be added to it.
    """
    batch, values, failed = evaluate(batch, projection, labels)
    failures = [failed]
    fits = batch.frame[TS].is_between(-TIME_MS_MAX, TIME_MS_MAX).fill_null(False)
    if not fits.all():
        message = "the event time is missing, or further from 1970 than can be counted with."
        failures.append(fail(batch.where(~fits), "does_not_fit", message))
        batch, values = batch.where(fits), values.filter(fits)
    keys = key_bytes(values[KEY_VALUE], projection.types[KEY_VALUE])
    there = keys.is_not_null()
    filtered = int((~there).sum())
    if filtered:
        batch, values, keys = batch.where(there), values.filter(there), keys.filter(there)
    rows = Arrived(batch, values, failures, filtered, np.empty(0, np.int64), [])
    if grace_ms is not None:
        late = pl.Series(rows.ts < rows.wm - grace_ms)
        if late.any():
            rows.outputs["late"] = batch.where(late)
            rows.batch, rows.values, keys = batch.where(~late), values.filter(~late), keys.filter(~late)
    rows.group, rows.names = by_key(keys)
    return rows


def by_key(keys: pl.Series) -> tuple[Int64s, list[bytes]]:
    """(number of each key, the distinct keys by number), numbered in order of first arrival."""
    group, first = groups_of(keys.to_frame("k"), ["k"])
    return group, keys.gather(first).to_list()


def nth_of_key(group: Int64s) -> Int64s:
    """How many rows of its key stand before each row."""
    return nth_of(group).to_numpy()


def timed_name(at: int, key: bytes) -> bytes:
    """A name whose bytewise order is that of the number before the key."""
    return (at + _SHIFT).to_bytes(8, "big") + key


def forget_below(store: StateStore, at: int) -> None:
    """Delete the entries of numbers below `at`, which `timed_name` named."""
    store.delete_many([name for name, _ in store.scan(b"", timed_name(at, b""))])


def clipped(watermark_ms: int) -> int:
    """A watermark with which durations can be counted."""
    return max(min(watermark_ms, 2 * TIME_MS_MAX), -2 * TIME_MS_MAX)


def named_at(name: bytes) -> tuple[int, bytes]:
    """What `timed_name` made a name of."""
    return int.from_bytes(name[:8], "big") - _SHIFT, name[8:]


def shown(
    keys: Sequence[bytes], first: Int64s | pl.Series, end: Int64s | pl.Series, values: pl.DataFrame
) -> pl.DataFrame:
    """State of keys as `streamflow state` shows it: each with the span of event time it is of."""
    named = pl.DataFrame(
        {STATE_KEY: list(keys), STATE_FROM: first, STATE_TO: end},
        schema={STATE_KEY: pl.Binary, STATE_FROM: pl.Int64, STATE_TO: pl.Int64},
    )
    return named.hstack(values)
