"""Values of windows at intervals: at each multiple of `every` of event time those that have changed since, and the last
value of each window when it closes.

A row at watermark w belongs to the next multiple above w. So what is given at one does not depend on how many rows a
step has, or how many multiples pass in it. State: for each open window its latest row, and when it is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import (
    EXECUTION,
    HEADERS,
    HEADERS_DTYPE,
    KEY,
    OFFSET,
    PARTITION,
    ROW,
    SOURCE,
    TOPIC,
    TS,
    WM,
    Batch,
)
from streamflow.model.types import LONG, Schema, record_of
from streamflow.operators.group_keys import telling
from streamflow.operators.keys import key_bytes
from streamflow.operators.sliding import SlidingOperator
from streamflow.operators.timers import StoreTimers
from streamflow.operators.window_rows import TIME_MS_MAX, Keys, numbered, timed_path
from streamflow.operators.windowing import WindowOperator
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
LATEST: Final = "latest"  # name of the store
_WINDOWS, _TIMERS, _NUMBER = b"w", b"t", b"n"
_START, _TICK, _NAME, _DUE = "@:start", "@:tick", "@:name", "@:due"
_NEVER: Final = 2**63 - 1


@dataclass(slots=True)
class EveryOperator:
    """`inner` gives a row for each change (`emit: update`). `keys`: fields of the result that make a group, the key
    first; `closes_ms`: how far behind its end a window closes, None if it never does.
    """

    inner: WindowOperator | SlidingOperator
    every_ms: int
    keys: Keys
    schema: Schema
    closes_ms: int | None
    holds_ms: int = field(init=False)
    _codec: RowCodec = field(init=False)
    _passed: list[pl.DataFrame] = field(init=False, default_factory=list)  # given before the step's last rows came

    def __post_init__(self) -> None:
        self.holds_ms = self.inner.holds_ms + self.every_ms
        fields = {f.name: f.type for f in self.schema.fields}
        self._codec = RowCodec(record_of({**fields, "__ts": LONG}), name="Latest")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        result = self.inner.process(inputs, ctx)
        outputs = dict(result.outputs)
        changed = outputs.pop("out", None)
        failed = 0 if result.failed is None else len(result.failed)
        late = sum(len(batch) for batch in outputs.values())
        taken = len(inputs["in"]) - result.filtered - failed - late
        if changed is not None and len(changed):
            self._keep(changed, ctx.store(LATEST))
        return Result(outputs=outputs, failed=result.failed, filtered=result.filtered, absorbed=taken)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """What is due comes out: windows that closed, and those that changed."""
        passed, self._passed = self._passed, []  # first: a step that fails from here on leaves none of them
        self.inner.advance(times, ctx)
        store = ctx.store(LATEST)
        given = [*passed, *self._ringing(store, times.end_ms)]
        if not given:
            return Result()
        rows = pl.concat(given).sort(_DUE, _NAME)
        made = self._made(rows, times, ctx, numbered(store, _NUMBER, rows.height))
        return Result(outputs={"out": made}, emitted=len(made))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """What windows have come to, whether it was given or not."""
        return self.inner.read_state(stores)

    def _keep(self, changed: Batch, store: StateStore) -> None:
        """Each window's latest row at each multiple; all but the last of these have passed already."""
        frame = changed.frame
        ends = "window_end" in frame.columns
        start = frame["window_start"].to_physical() if ends else pl.repeat(0, frame.height, dtype=pl.Int64, eager=True)
        wm = np.clip(frame[WM].to_numpy(), -2 * TIME_MS_MAX, 2 * TIME_MS_MAX)
        tick = pl.Series(_TICK, (wm // self.every_ms + 1) * self.every_ms)
        payload = [frame[f.name] for f in self.schema.fields]
        rows = pl.DataFrame([*payload, frame[TS].alias("__ts"), start.alias(_START), tick])
        windows = telling(self.keys, rows).with_columns(rows[_START], rows[_TICK])
        rows = rows.filter(windows.select(pl.struct(pl.all()).is_last_distinct()).to_series())
        names = [
            _WINDOWS + name + start.to_bytes(8, "big", signed=True)
            for name, start in zip(self.keys.names(rows), rows[_START].to_list(), strict=True)
        ]
        rows = rows.with_columns(pl.Series(_NAME, names, dtype=pl.Binary))
        last = rows.unique(_NAME, keep="last", maintain_order=True)
        earlier = rows.join(last, on=[_NAME, _TICK], how="anti", maintain_order="left")
        before = store.get_many(last[_NAME].to_list())
        first = rows.unique(_NAME, keep="first", maintain_order=True)
        next_tick = dict(zip(first[_NAME].to_list(), first[_TICK].to_list(), strict=True))
        waiting = [
            (name, value)
            for name, value in zip(last[_NAME].to_list(), before, strict=True)
            if value is not None and _tick(value) < next_tick[name]
        ]
        kept = self._decoded(waiting)
        timers = StoreTimers(store, prefix=_TIMERS)
        encoded = self._codec.encode(last.select(*[f.name for f in self.schema.fields], "__ts"))
        due = self._closing(last)
        for name, tick_ms, closes, old, value in zip(
            last[_NAME].to_list(), last[_TICK].to_list(), due.tolist(), before, encoded, strict=True
        ):
            if old is None and closes != _NEVER:
                timers.set(closes, name)
            if tick_ms < closes and (old is None or _tick(old) != tick_ms):
                timers.set(tick_ms, name)
            store.put(name, tick_ms.to_bytes(8, "big", signed=True) + value)
        self._pass(earlier)  # last: of a step that fails nothing is left in memory
        self._pass(kept)

    def _pass(self, rows: pl.DataFrame) -> None:
        """Rows whose multiple lies before the last rows that came: given, unless the window closes before it."""
        kept = rows.with_columns(pl.col(_TICK).alias(_DUE)).filter(pl.col(_TICK) < pl.Series(self._closing(rows)))
        if kept.height:
            self._passed.append(kept.drop(_TICK))

    def _ringing(self, store: StateStore, end_ms: int) -> list[pl.DataFrame]:
        """Windows that are due: those that close, and others that changed, which wait for the next change then."""
        names = sorted({name for _, name in StoreTimers(store, prefix=_TIMERS).due(end_ms)})
        entries = [(n, v) for n, v in zip(names, store.get_many(names), strict=True) if v is not None]
        if not entries:
            return []
        rows = self._decoded(entries)
        closing, tick = self._closing(rows), rows[_TICK].to_numpy()
        for (name, value), closes, at in zip(entries, closing.tolist(), tick.tolist(), strict=True):
            if closes <= end_ms:
                store.delete(name)
            elif at <= end_ms:
                store.put(name, _NEVER.to_bytes(8, "big", signed=True) + value[8:])
        ticked = rows.filter(pl.Series((tick <= end_ms) & (tick < closing))).with_columns(pl.col(_TICK).alias(_DUE))
        over = closing <= end_ms
        closed = rows.filter(pl.Series(over)).with_columns(pl.Series(_DUE, closing[over]))
        return [part.drop(_TICK) for part in (ticked, closed)]

    def _decoded(self, entries: Iterable[tuple[bytes, bytes]]) -> pl.DataFrame:
        entries = list(entries)
        return self._codec.decode([value[8:] for _, value in entries]).with_columns(
            pl.Series(_START, [int.from_bytes(name[-8:], "big", signed=True) for name, _ in entries], dtype=pl.Int64),
            pl.Series(_TICK, [_tick(value) for _, value in entries], dtype=pl.Int64),
            pl.Series(_NAME, [name for name, _ in entries], dtype=pl.Binary),
        )

    def _closing(self, rows: pl.DataFrame) -> Int64s:
        """When the window of each row closes."""
        if self.closes_ms is None:
            return np.full(rows.height, _NEVER)
        closes: Int64s = rows["window_end"].to_physical().to_numpy() + self.closes_ms
        return closes

    def _made(self, rows: pl.DataFrame, times: StepTimes, ctx: Context, numbers: pl.Series) -> Batch:
        """Rows out of state: lineage and executions of their own, numbered by task."""
        due = rows[_DUE].to_numpy()
        field_name, of = next(iter(self.keys.columns.values()))
        key = key_bytes(rows[field_name], of)
        text, window = key.cast(pl.String, strict=False).fill_null(""), rows[_START].cast(pl.String)
        execution = pl.concat_str(
            pl.lit(f"{ctx.node}#"),
            pl.lit(text),
            pl.lit("@"),
            pl.lit(window),
            pl.lit("."),
            pl.lit(numbers.cast(pl.String)),
        )
        frame = rows.select(f.name for f in self.schema.fields).with_columns(
            pl.Series(ROW, times.crossing(due), dtype=pl.UInt32),
            key.alias(KEY),
            rows["__ts"].alias(TS),
            pl.Series(WM, due - 1, dtype=pl.Int64),
            execution.alias(EXECUTION),
            pl.lit(pl.Series([[]], dtype=HEADERS_DTYPE)).first().alias(HEADERS),
            pl.lit(f"{ctx.workflow}.{ctx.node}/{ctx.partition}").alias(SOURCE),
            numbers.alias(OFFSET),
            pl.lit("").alias(TOPIC),
            pl.lit(ctx.partition, dtype=pl.Int32).alias(PARTITION),
            timed_path(due),
        )
        return Batch(frame, self.schema)


def _tick(value: bytes) -> int:
    return int.from_bytes(value[:8], "big", signed=True)
