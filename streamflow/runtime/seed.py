"""Turns decoded records into rows of a stage: reserved columns, event time, keys, executions.

Rows enter in segments: a marker on an internal topic ends one segment and begins or ends an execution between two rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import polars as pl

from streamflow.codecs import Marker
from streamflow.expressions import compile_projection
from streamflow.model.batch import (
    DEADLINE,
    ERROR_CODE,
    ERROR_MESSAGE,
    EXECUTION,
    GONE,
    KEY,
    OFFSET,
    PARTITION,
    PATH,
    POSITION,
    ROW,
    SOURCE,
    TOPIC,
    TS,
    WM,
    Batch,
    kept_columns,
    without_columns,
)
from streamflow.model.types import TIMESTAMP_MS, Schema, Type
from streamflow.operators.keys import key_bytes
from streamflow.runtime.committed import InputState
from streamflow.runtime.tombstones import CODE, MESSAGE, read_keys, without_value
from streamflow.sdk.errors import UsageError
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS, Expression, Projection, Scope
from streamflow.topology.plan import InputPlan

BEGIN, END, WATERMARK = "begin", "end", "watermark"
GROWN = "grown"  # by how many rows executions grew that are on their way to a gather: see `runtime.feeds`


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows to push through the graph; then, if `ended` names an execution, tell the graph that it ended.

    `grown`: what a stage before told a gather of its executions there. `at`: offset of the marker that ends the
    segment; -1 for the last one.
    """

    rows: Batch
    ended: str = ""
    at: int = -1
    grown: bytes = b""


class Seeder:
    """Seeds rows of one input of one task."""

    def __init__(
        self, plan: InputPlan, needs: Sequence[str], *, source: str, partition: int, vars: dict[str, object]
    ) -> None:
        self._plan, self._needs, self.source, self._partition = plan, frozenset(needs), source, partition
        self._projection = _projection(plan, vars)
        self._envelope = {e.field: e.column for e in plan.envelope}
        self._keep = kept_columns(plan.node, plan.keep)
        self.state = InputState()

    def keyed(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Batch | None]:
        """Decoded rows with their keys and event times, and those whose key or time failed; `@position` tells which."""
        if self._envelope:
            frame = frame.rename(self._envelope)
        failed: Batch | None = None
        if self._projection is not None:
            frame, failed = self._keys_and_times(frame, self._projection)
        if self._plan.gone is not None:
            frame, failed = self._tombstones(frame, self._plan.gone, failed)
        return frame, failed

    def segments(
        self, frame: pl.DataFrame, markers: Sequence[Marker], order: pl.Series | None, watermarks: pl.Series | None
    ) -> list[Segment]:
        """Rows of `keyed` in segments, in order of arrival. `order`: their `@row`; None numbers them.

        `watermarks`: `@wm` of each, where event time is kept.
        """
        frame = frame.with_row_index(ROW) if order is None else frame.with_columns(order.alias(ROW))
        if watermarks is not None and WM in self._needs:
            frame = frame.with_columns(watermarks.alias(WM))
        cuts = [m for m in markers if m.type in (BEGIN, END, GROWN)]
        if not cuts:
            return [Segment(self._reserve(frame))]
        segments: list[Segment] = []
        positions, first = frame[POSITION].to_numpy(), 0
        for marker in cuts:
            told, ended = {} if marker.type == GROWN else orjson.loads(marker.value), ""
            if marker.type == END and not (ended := self._ended(told)):
                continue
            end = int(np.searchsorted(positions, marker.offset))
            grown = marker.value if marker.type == GROWN else b""
            segments.append(Segment(self._reserve(frame.slice(first, end - first)), ended, marker.offset, grown))
            first = end
            if grown:
                continue
            if marker.type == BEGIN:
                self.state.execution = told.get("execution") or f"{self.source}:{marker.offset}"
            elif self.state.execution == ended:
                self.state.execution = ""
        segments.append(Segment(self._reserve(frame.slice(first))))
        return segments

    def _ended(self, told: dict[str, object]) -> str:
        """The execution that a marker ends here; "" until every upstream task has announced it."""
        execution = str(told.get("execution") or self.state.execution)
        expected = told.get("of", 1)
        seen = self.state.ends.setdefault(execution, [])
        task = told.get("task", 0)
        if isinstance(task, int) and task not in seen:
            seen.append(task)
        if isinstance(expected, int) and len(seen) < expected:
            return ""
        del self.state.ends[execution]
        return execution

    def _reserve(self, frame: pl.DataFrame) -> Batch:
        have, add = set(frame.columns), []
        for column in sorted(self._needs - have):
            if column == SOURCE:
                add.append(pl.lit(self.source).alias(SOURCE))
            elif column == OFFSET:
                add.append(pl.col(POSITION).alias(OFFSET))
            elif column == EXECUTION:
                whole = pl.lit(self.state.execution)
                each = pl.concat_str(pl.lit(self.source + ":"), pl.col(POSITION).cast(pl.String))
                add.append((each if self._plan.extent == "item" else whole).alias(EXECUTION))
            elif column == DEADLINE:
                add.append(pl.lit(None, dtype=pl.Int64).alias(DEADLINE))
            elif column == PATH:
                add.append(pl.lit(b"").alias(PATH))
            elif column == TOPIC:
                add.append(pl.lit(self._plan.topic).alias(TOPIC))
            elif column == PARTITION:
                add.append(pl.lit(self._partition, dtype=pl.Int32).alias(PARTITION))
        if add:
            frame = frame.with_columns(add)
        if POSITION not in self._needs:
            frame = without_columns(frame, (POSITION,))
        if self._keep:
            frame = frame.with_columns(**self._keep)
        return Batch(frame, self._plan.schema)

    def _keys_and_times(self, frame: pl.DataFrame, projection: Projection) -> tuple[pl.DataFrame, Batch | None]:
        done = projection.run(frame)
        columns, bad = [], pl.repeat(0, frame.height, dtype=pl.UInt8, eager=True)
        for name, codes in done.errors.items():
            bad = pl.select(pl.when(bad == 0).then(codes).otherwise(bad)).to_series()
            del name
        if self._plan.key:
            columns.append(key_bytes(done.values["key"], projection.types["key"]).alias(KEY))
        if self._plan.time:
            columns.append(event_time_ms(done.values["time"], projection.types["time"]).alias(TS))
            # An item without event time has no place in the order of events.
            bad = pl.select(pl.when((bad == 0) & columns[-1].is_null()).then(pl.lit(3)).otherwise(bad)).to_series()
        bad = bad.cast(pl.UInt8)
        if GONE in frame.columns:
            bad = bad.zip_with(frame[GONE].is_null(), pl.Series([0], dtype=pl.UInt8))
            columns = without_value(frame.with_columns(columns), frame).select(KEY, TS).get_columns()
        if not done.errors and not (bad != 0).any():
            return frame.with_columns(columns), None
        failing = frame.filter(bad != 0).with_columns(
            bad.filter(bad != 0).replace_strict(ITEM_ERROR_CODES, return_dtype=pl.String).alias(ERROR_CODE),
            pl.concat_str(
                pl.lit("key or time of the trigger: "),
                bad.filter(bad != 0).replace_strict(ITEM_ERROR_TEXTS, return_dtype=pl.String),
            ).alias(ERROR_MESSAGE),
        )
        return frame.with_columns(columns).filter(bad == 0), Batch(failing, self._plan.schema)

    def _tombstones(
        self, frame: pl.DataFrame, schema: Schema, failed: Batch | None
    ) -> tuple[pl.DataFrame, Batch | None]:
        """Rows with the keys of records without value read, and rows that failed, now also where one cannot be."""
        frame, wrong = read_keys(frame, schema)
        if not wrong.any():
            return frame, failed
        text = MESSAGE.format(schema.fields[0].type.kind)
        lost = frame.filter(wrong).with_columns(pl.lit(CODE).alias(ERROR_CODE), pl.lit(text).alias(ERROR_MESSAGE))
        both = lost if failed is None else pl.concat([failed.frame, lost], how="diagonal").sort(POSITION)
        return frame.filter(~wrong), Batch(both, self._plan.schema)


def event_time_ms(values: pl.Series, of: Type) -> pl.Series:
    """Event times as ms since 1970: timestamps as they are, dates at midnight UTC, integers as ms."""
    if of.kind in ("timestamp", "local"):
        return values.dt.epoch("ms").cast(pl.Int64)
    if of.kind == "date":
        return values.cast(pl.Datetime("ms")).dt.epoch("ms").cast(pl.Int64)
    if of.kind in ("int", "long", "any"):
        return values.cast(pl.Int64)
    raise UsageError(f"event time must be a timestamp, a date or integer milliseconds, not {of}.")


def _projection(plan: InputPlan, vars: dict[str, object]) -> Projection | None:
    named = {n: Expression(t) for n, t in (("key", plan.key), ("time", plan.time)) if t}
    if not named:
        return None
    projection, findings = compile_projection(named, Scope(item=plan.schema, vars=vars))
    if projection is not None and projection.types.get("time", TIMESTAMP_MS).kind == "any":
        from streamflow.model.types import LONG

        projection, findings = compile_projection(named, Scope(item=plan.schema, vars=vars), expect={"time": LONG})
    if projection is None:
        raise UsageError(f"trigger {plan.node!r}: {findings[0]}", mend="Compile the workflow again with this version.")
    return projection
