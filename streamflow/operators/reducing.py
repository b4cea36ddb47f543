"""A running value of each key, by an expression over the one before and the row.

State: for each key its value and its latest event time. Rows are taken in order of arrival; a step reads and writes
each of its keys once, and goes over its rows one by one (see `expressions/accumulate.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import KEY, Batch
from streamflow.model.types import LONG, Schema, record_of
from streamflow.operators.errors import failed_rows
from streamflow.operators.key_lists import NEVER, KeyLists
from streamflow.operators.keyed import KEY_VALUE, Arrived, Bools, Int64s, arriving, shown
from streamflow.sdk.expression import Accumulation, Projection
from streamflow.sdk.operator import Context, Result, StepTimes

STORE: Final = "values"
_BEFORE: Final = -(2**62)  # any event time


@dataclass(slots=True)
class ReduceOperator:
    """Gives the key and its value at each row, or at the last row of each key in a step.

    `labels` names the expressions of `projection`, and the accumulation as `value_field`, in messages. `forget_ms`: how
    long a key is remembered behind its latest event time; None: for ever.
    """

    projection: Projection
    labels: Mapping[str, str]
    accumulation: Accumulation
    emit: Literal["update", "coalesced"]
    forget_ms: int | None
    key_field: str
    value_field: str
    schema: Schema
    holds_ms: int = 0  # rows pass at once
    _codec: RowCodec = field(init=False)

    def __post_init__(self) -> None:
        self._codec = RowCodec(record_of({"v": self.accumulation.type, "t": LONG}), name="Value")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        rows = arriving(inputs["in"], self.projection, self.labels, grace_ms=None)
        if not len(rows.batch):
            return rows.result()
        values, codes = self._reduced(rows, ctx)
        batch, keys, group = rows.batch, rows.values[KEY_VALUE], rows.group
        if codes is not None:
            wrong = codes != 0
            name = self.value_field
            rows.failures.append(failed_rows(batch, {name: codes}, {name: self.labels[name]}))
            batch, keys, values = batch.where(~wrong), keys.filter(~wrong), values.filter(~wrong)
            group = group[~wrong.to_numpy()]
        absorbed = 0
        if self.emit == "coalesced" and len(batch):
            last = len(group) - 1 - np.unique(group[::-1], return_index=True)[1]
            shown = np.zeros(len(group), np.bool_)
            shown[last] = True
            absorbed = len(group) - len(last)
            mask = pl.Series(shown)
            batch, keys, values, group = batch.where(mask), keys.filter(mask), values.filter(mask), group[shown]
        names = pl.Series(KEY, rows.names, dtype=pl.Binary).gather(group)
        frame = batch.frame.select(batch.reserved_columns()).with_columns(
            keys.alias(self.key_field), values.alias(self.value_field), names
        )
        rows.outputs["out"] = Batch(frame, self.schema)
        return rows.result(absorbed=absorbed)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Forget keys of which nothing came for long enough."""
        if self.forget_ms is None:
            return Result()
        lists = KeyLists(ctx.store(STORE))
        names = lists.ringing(times.end_ms)
        before = lists.load(names, rung_ms=times.end_ms)
        due = (self._codec.decode(before.values)["t"].to_numpy() + self.forget_ms).tolist()
        kept = {g: [v] for g, v, at in zip(before.group, before.values, due, strict=True) if at > times.end_ms}
        lists.keep(before, kept, dict(zip(before.group, due, strict=True)))
        return Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        keys, values = KeyLists.read(stores[STORE])
        value = self._codec.decode(values).select(pl.col("v").alias(self.value_field))
        nothing = pl.repeat(None, len(keys), dtype=pl.Int64, eager=True)
        return shown(keys, nothing, nothing, value)

    def _reduced(self, rows: Arrived, ctx: Context) -> tuple[pl.Series, pl.Series | None]:
        """(value at each row, error codes)."""
        lists = KeyLists(ctx.store(STORE))
        before = lists.load(rows.names)
        known = self._codec.decode(before.values)
        at = np.array(before.group, np.int64)
        latest = np.full(len(rows.names), _BEFORE, np.int64)
        latest[at] = known["t"].to_numpy()
        index = np.full(len(rows.names), -1, np.int64)
        index[at] = np.arange(len(at))
        start = known["v"].gather(pl.Series(index).set(pl.Series(index < 0), None))
        fresh = self._fresh(rows, latest, index < 0)
        values, codes, after = self.accumulation.run(rows.batch.frame, rows.group.tolist(), fresh, start)
        np.maximum.at(latest, rows.group, rows.ts)
        encoded = self._codec.encode(pl.DataFrame({"v": after, "t": latest}))
        due = [NEVER] * len(latest) if self.forget_ms is None else (latest + self.forget_ms).tolist()
        lists.keep(before, {i: [v] for i, v in enumerate(encoded)}, dict(enumerate(due)))
        return values, codes

    def _fresh(self, rows: Arrived, latest: Int64s, unknown: Bools) -> list[bool]:
        """Where a key begins anew: at its first row, and at one that comes when it would have been forgotten."""
        frame = pl.DataFrame({"g": rows.group, "t": rows.ts, "w": rows.wm})
        nth = pl.int_range(pl.len()).over("g")
        begins = pl.Series(unknown).gather(rows.group) & (frame.select(nth).to_series() == 0)
        if self.forget_ms is not None:
            seen = pl.Series(latest).gather(rows.group)
            before = frame.select(pl.col("t").cum_max().shift(1).over("g").fill_null(_BEFORE)).to_series()
            last = pl.DataFrame({"a": seen, "b": before}).max_horizontal()
            begins = begins | (frame["w"] >= last + self.forget_ms)
        return begins.to_list()
