"""Rows that wait for a time by the wall clock.

State: `time at which they are due ‖ number of the first` -> rows that are due then, one behind another as they came.
So a wake takes entries from the front of the store, and nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import polars as pl

from streamflow.model.batch import EXECUTION, ROW, WM, Batch
from streamflow.model.types import PAYLOAD, Schema, Type
from streamflow.operators.alarms import Alarms
from streamflow.operators.control import by_deadline, out_of_time
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.execution_rows import PART_BYTES_MAX
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.window_rows import TIME_MS_MAX
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, EndedExecutions, Result
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

STORE: Final = "waiting"
DUE: Final = "due"  # the expression of the projection
_ROWS, _AFTER_ROWS, _COUNT = b"r", b"s", b"#"
_NUMBER: Final = "@number"
_K = TypeVar("_K")
_V = TypeVar("_V")
_LOOK_ROWS_MAX: Final = 8_192  # rows that are decoded at once


@dataclass(slots=True)
class WaitOperator:
    """Rows come out by the clock, those that are due first before the others, of one time in order of arrival.

    `projection` gives DUE: milliseconds from now where `relative`, else a time (ms since 1970, or a timestamp).
    """

    projection: Projection
    labels: Mapping[str, str]
    schema: Schema
    earlier: Mapping[str, Schema]
    relative: bool
    remembered: Mapping[str, Type] = field(default_factory=dict)  # by loops across topics
    _rows: KeptRows = field(init=False)
    _alarms: Alarms = field(init=False)

    def __post_init__(self) -> None:
        self._rows, self._alarms = KeptRows(self.schema, self.earlier, remembered=self.remembered), Alarms(_ROWS)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.projection, self.labels)
        due = due_ms(values[DUE], ctx.now_ms if self.relative else 0)
        batch, due, odd = timed(batch, due, self.labels[DUE])
        waits = due > ctx.now_ms
        if waits.any():
            rows = batch.frame.filter(waits)
            self._keep(rows, by_deadline(due.filter(waits), rows).to_list(), ctx.store(STORE))
        outputs = {} if waits.all() else {"out": batch.where(~waits)}
        return Result(outputs=outputs, failed=join_failed([failed, odd]), absorbed=int(waits.sum()))

    def due_ms(self, ctx: Context) -> int | None:
        return self._alarms.next_ms(ctx.store(STORE))

    def wake(self, ctx: Context) -> Result:
        """Rows that are due come out; those whose execution has had its time end."""
        entries = self._alarms.take(ctx.store(STORE), ctx.now_ms)
        values = [(due_ms, value) for due_ms, _, entry in entries for value in split(entry)]
        if not values:
            return Result()
        rows, over = out_of_time(
            Batch(self._rows.decode([value for _, value in values]), self.schema), [due_ms for due_ms, _ in values]
        )
        out = rows.with_frame(woken(rows.frame, ctx.watermark_ms))
        ended = None if over is None else over.with_frame(woken(over.frame, ctx.watermark_ms))
        return Result(outputs={"out": out} if len(out) else {}, emitted=len(out), ended=ended)

    def release(self, executions: EndedExecutions, ctx: Context) -> Result:
        """Rows of executions that end. All that waits is looked through, in portions; nothing else is written."""
        store, ended, left = ctx.store(STORE), list[Batch](), dict[bytes, list[bytes]]()
        for entries in portions((name, split(entry)) for name, entry in store.scan(_ROWS, _AFTER_ROWS)):
            values = [value for _, own in entries for value in own]
            over = over_among(self._rows, values, self.schema, executions)
            if over is None:
                continue
            ended.append(over.rows)
            at = 0
            for name, own in entries:
                kept = [value for number, value in enumerate(own, at) if number not in over.numbers]
                at += len(own)
                if len(kept) < len(own):
                    left[name] = kept
        store.delete_many([name for name, kept in left.items() if not kept])
        for name, kept in left.items():
            if kept:
                store.put(name, b"".join(map(framed, kept)))
        return Result(ended=ended_together(ended, ctx.watermark_ms))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Each item that waits, with the time at which it goes on."""
        due: list[int] = []
        values: list[bytes] = []
        for name, entry in stores[STORE]:
            if name.startswith(_ROWS):
                own = split(entry)
                values += own
                due += [self._alarms.read(name)[0]] * len(own)
        return waiting_rows(self._rows.decode(values), due, [None] * len(due))

    def _keep(self, rows: pl.DataFrame, due: Sequence[int], store: StateStore) -> None:
        number = int.from_bytes(store.get(_COUNT) or b"", "big")
        names: list[bytes] = []
        parts: list[bytes] = []
        for at_ms, first, part in due_parts(due, self._rows.encode(rows)):
            names.append(self._alarms.name(at_ms, (number + first).to_bytes(8, "big")))
            parts.append(part)
        store.put_many(names, parts)
        store.put(_COUNT, (number + len(due)).to_bytes(8, "big"))
        self._alarms.put(store, min(due))


@dataclass(frozen=True, slots=True)
class Over:
    """Rows that end, and which of those looked through they were."""

    rows: Batch
    numbers: frozenset[int]


def over_among(kept: KeptRows, values: Sequence[bytes], schema: Schema, executions: EndedExecutions) -> Over | None:
    """Those of the kept rows whose execution ends; None: there are none."""
    frame = kept.decode(values)
    if EXECUTION not in frame.columns:
        return None
    _, over = executions.apart(Batch(frame.with_row_index(_NUMBER), schema))
    if over is None:
        return None
    ended = over.frame.sort(_NUMBER)
    return Over(over.with_frame(ended.drop(_NUMBER)), frozenset(ended[_NUMBER].to_list()))


def ended_together(ended: Sequence[Batch], watermark_ms: int) -> Batch | None:
    """Rows that end, as rows out of state."""
    if not ended:
        return None
    rows = pl.concat([batch.frame for batch in ended], how="diagonal")
    return Batch(woken(rows, watermark_ms), ended[0].schema)


def portions(entries: Iterable[tuple[_K, list[_V]]]) -> Iterator[list[tuple[_K, list[_V]]]]:
    """Entries with what is in them, so many together that they hold some thousands."""
    portion: list[tuple[_K, list[_V]]] = []
    size = 0
    for name, own in entries:
        portion.append((name, own))
        size += len(own)
        if size >= _LOOK_ROWS_MAX:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def due_ms(values: pl.Series, from_ms: int) -> pl.Series:
    """Times in ms since 1970: timestamps as they are, numbers (a fraction is dropped) from `from_ms` on; null where
    there is none, or it is further from 1970 than can be counted with.
    """
    if values.dtype in (pl.Datetime, pl.Date):
        values = values.cast(pl.Datetime("ms", "UTC") if values.dtype == pl.Date else values.dtype).dt.epoch("ms")
    whole = values.cast(pl.Int64, strict=False)
    fits = whole.is_between(-TIME_MS_MAX, TIME_MS_MAX)
    return pl.select(pl.when(fits).then(whole + from_ms)).to_series().cast(pl.Int64)


def timed(batch: Batch, due: pl.Series, named: str) -> tuple[Batch, pl.Series, Batch | None]:
    """(rows that have a time, their times, rows that have none)."""
    without = due.is_null()
    if not without.any():
        return batch, due, None
    message = f"{named}: there is no time to wait for, or it is further off than can be counted with."
    return batch.where(~without), due.filter(~without), fail(batch.where(without), "does_not_fit", message)


def woken(rows: pl.DataFrame, watermark_ms: int) -> pl.DataFrame:
    """Rows out of state in their order, as those of a wake: see `sdk.operator.Waits.wake`."""
    return rows.with_columns(
        pl.int_range(rows.height, dtype=pl.UInt32, eager=True).alias(ROW),
        pl.lit(watermark_ms, dtype=pl.Int64).alias(WM),
    )


def waiting_rows(rows: pl.DataFrame, due: Sequence[int | None], keys: Sequence[bytes | None]) -> pl.DataFrame:
    """Rows that wait as `sdk.state.ReadsState` gives them, with `@due`, and `@execution` where it is known."""
    nothing = pl.lit(None, dtype=pl.Int64)
    shown: list[pl.Series | pl.Expr] = [
        pl.Series(STATE_KEY, list(keys), dtype=pl.Binary),
        nothing.alias(STATE_FROM),
        nothing.alias(STATE_TO),
        pl.Series("@due", list(due), dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
    ]
    named = [c for c in rows.columns if c in (EXECUTION, PAYLOAD) or not c.startswith("@")]
    return rows.select(*shown, *(pl.col(name) for name in named))


def split(entry: bytes) -> list[bytes]:
    """The values of an entry, each behind its length in 4 bytes."""
    values: list[bytes] = []
    at = 0
    while at < len(entry):
        size = int.from_bytes(entry[at : at + 4], "big")
        values.append(entry[at + 4 : at + 4 + size])
        at += 4 + size
    return values


def framed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def due_parts(
    due: Sequence[int], values: Sequence[bytes], *, bytes_max: int = PART_BYTES_MAX
) -> Iterator[tuple[int, int, bytes]]:
    """(time, number of its first row, rows) of rows that follow each other and are due at one time, up to a size.
    There is at least one row.
    """
    at_ms, first, size, own = due[0], 0, 0, list[bytes]()
    for number, (row_ms, value) in enumerate(zip(due, values, strict=True)):
        if own and (row_ms != at_ms or size + len(value) > bytes_max):
            yield at_ms, first, b"".join(own)
            own.clear()
        if not own:
            at_ms, first, size = row_ms, number, 0
        own.append(framed(value))
        size += len(value) + 4
    yield at_ms, first, b"".join(own)
