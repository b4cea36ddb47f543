"""What windows of every shape share: groups and their folds as state, and the rows that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import (
    ERROR_CODE,
    EXECUTION,
    HEADERS,
    HEADERS_DTYPE,
    KEY,
    OFFSET,
    PARTITION,
    PATH,
    ROW,
    SOURCE,
    TOPIC,
    TS,
    WM,
    Batch,
)
from streamflow.model.types import LONG, TIMESTAMP_MS, Schema, Type, frame_schema, polars_dtype, record_of
from streamflow.operators.errors import either, evaluate, fail, without
from streamflow.operators.explode import index_bytes
from streamflow.operators.folding import Folding
from streamflow.operators.keys import key_bytes
from streamflow.operators.stepwise import Refused, Stepwise, stepped
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

Int64s = npt.NDArray[np.int64]
TIME_MS_MAX: Final = 1 << 61  # sums of times below it fit 64 bits


@dataclass(frozen=True, slots=True)
class Keys:
    """What makes a group. `columns`: column of the evaluated rows -> field of the result and its type; the first is
    the key that rows are partitioned by.
    """

    columns: Mapping[str, tuple[str, Type]]

    @property
    def first(self) -> str:
        return next(iter(self.columns))

    def names(self, groups: pl.DataFrame) -> list[bytes]:
        """Bytes that tell groups apart."""
        parts = [key_bytes(groups[c], t).to_list() for c, (_, t) in self.columns.items()]
        if len(parts) == 1:
            return parts[0]
        return [b"".join(_framed(p) for p in row) for row in zip(*parts, strict=True)]


def _framed(part: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if part is None else len(part).to_bytes(4, "big") + part


@dataclass(frozen=True, slots=True)
class Folds:
    """The functions of a window over the rows of each group."""

    keys: Keys
    folds: tuple[Folding, ...]

    @property
    def stepwise(self) -> dict[int, Stepwise]:
        """The functions that go row by row, by number."""
        return {i: fold for i, fold in enumerate(self.folds) if isinstance(fold, Stepwise)}

    def stepped(
        self,
        rows: pl.DataFrame,
        of_row: Int64s,
        group: Int64s,
        old: pl.DataFrame | None,
        known: Int64s,
        groups: int,
        *,
        each: bool,
    ) -> pl.DataFrame:
        """`rows` with the states of functions that go row by row, which `units` needs. `old`: states of the groups
        `known`. Raises Refused (see `stepwise.stepped`, as for the rest).
        """
        folds = self.stepwise
        if not folds:
            return rows
        before = [None if old is None else old[f"f{i}v"] for i in folds]
        made = stepped(list(folds.values()), rows, of_row, group, before, known, groups, each=each)
        return rows.with_columns(s.alias(f.column) for s, f in zip(made, folds.values(), strict=True))

    def apart(self, batch: Batch, values: pl.DataFrame, failures: list[Batch | None]) -> tuple[Batch, pl.DataFrame]:
        """(rows, their values) with the state of each row alone, for windows that merge; rows that fail apart."""
        while self.stepwise and len(batch):
            at = np.arange(len(batch))
            try:
                return batch, self.stepped(self.reading(batch, values), at, at, None, at[:0], len(at), each=False)
            except Refused as refused:
                batch, values = refuse(batch, values, refused, failures)
        return batch, values

    def reading(self, batch: Batch, values: pl.DataFrame) -> pl.DataFrame:
        """Values, and what functions that go row by row read besides of rows."""
        read = {c for fold in self.stepwise.values() for c in fold.reads} - set(values.columns)
        return values.with_columns(batch.frame.select(sorted(read)).get_columns()) if read else values

    @property
    def state_schema(self) -> Schema:
        """Fields: the keys, the functions' parts, the latest event time, the number of rows. `time` and others of the
        window's shape come behind them.
        """
        fields = {f"k{i}": t for i, (_, t) in enumerate(self.keys.columns.values())}
        for i, fold in enumerate(self.folds):
            fields |= {f"f{i}{part}": t for part, t in fold.parts.items()}
        return record_of({**fields, "ts": LONG, "n": LONG})

    def codec(self, more: Mapping[str, Type] | None = None) -> RowCodec:
        schema = self.state_schema
        return RowCodec(record_of({**{f.name: f.type for f in schema.fields}, **(more or {})}), name="Window")

    def units(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A state for each row. `rows` has the columns of keys and values, and `@ts`."""
        columns = [rows[c].alias(f"k{i}") for i, c in enumerate(self.keys.columns)]
        for i, fold in enumerate(self.folds):
            units = fold.unit(fold.values(rows), rows[TS])
            columns += [s.alias(f"f{i}{part}") for part, s in units.items()]
        ones = pl.repeat(1, rows.height, dtype=pl.Int64, eager=True)
        return pl.DataFrame([*columns, rows[TS].alias("ts"), ones.alias("n")])

    def combined(self, states: pl.DataFrame, group: pl.Series, groups: int) -> pl.DataFrame:
        """One state a group, in the order of group numbers."""
        first = np.zeros(groups, np.int64)
        first[group.to_numpy()[::-1]] = np.arange(len(group))[::-1]
        columns = [states[f"k{i}"].gather(first) for i in range(len(self.keys.columns))]
        for i, fold in enumerate(self.folds):
            parts = {part: states[f"f{i}{part}"] for part in fold.parts}
            columns += [s.alias(f"f{i}{part}") for part, s in fold.combined(parts, group, groups).items()]
        latest, number = np.full(groups, -(2**63), np.int64), np.zeros(groups, np.int64)
        np.maximum.at(latest, group.to_numpy(), states["ts"].to_numpy())
        np.add.at(number, group.to_numpy(), states["n"].to_numpy())
        return pl.DataFrame([*columns, pl.Series("ts", latest), pl.Series("n", number)])

    def outcome(self, states: pl.DataFrame) -> tuple[list[pl.Series], pl.DataFrame | None]:
        """(values by function, why states lack one; None: all have them)."""
        values: list[pl.Series] = []
        why: pl.DataFrame | None = None
        for i, fold in enumerate(self.folds):
            value, wrong = fold.outcome({part: states[f"f{i}{part}"] for part in fold.parts})
            values.append(value)
            why = either(why, wrong)
        return values, why

    def running(self, states: pl.DataFrame, group: pl.Series) -> pl.DataFrame:
        """At each state, what its group has come to with it."""
        columns = [states[f"k{i}"] for i in range(len(self.keys.columns))]
        for i, fold in enumerate(self.folds):
            parts = {part: states[f"f{i}{part}"] for part in fold.parts}
            columns += [s.alias(f"f{i}{part}") for part, s in fold.running(parts, group).items()]
        over = pl.DataFrame({"g": group, "ts": states["ts"], "n": states["n"]})
        more = over.select(pl.col("ts").cum_max().over("g"), pl.col("n").cum_sum().over("g"))
        return pl.DataFrame([*columns, *more])


@dataclass(frozen=True, slots=True)
class Made:
    """Rows made of states. `why`: code and message of those that lack a value, null for others (None: all fit)."""

    rows: Batch
    why: pl.DataFrame | None = None

    @property
    def bad(self) -> pl.Series | None:
        return None if self.why is None else self.why[ERROR_CODE].is_not_null()

    def fitting(self, batch: Batch, failures: list[Batch | None]) -> Batch:
        """The rows that may go out. One of `batch` of which a result does not fit fails as a whole: it has one fate."""
        if self.why is None:
            return self.rows
        told = self.why.with_columns(self.rows.frame[ROW]).drop_nulls(ERROR_CODE).unique(ROW, keep="first")
        failures.append(batch.with_frame(batch.frame.join(told, on=ROW, how="inner", maintain_order="left")))
        return self.rows.where(~self.rows.frame[ROW].is_in(told[ROW].implode()))


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Makes result rows of states. `source`: schema of the rows that came in; `schema`: of what goes out."""

    folds: Folds
    source: Schema
    schema: Schema

    def made(
        self,
        states: pl.DataFrame,
        *,
        start: Int64s,
        end: Int64s,
        row: npt.NDArray[np.uint32],
        watermark: Int64s,
        ctx: Context,
        path: pl.Series,
        parents: pl.DataFrame | None = None,
        numbers: pl.Series | None = None,
    ) -> Made:
        """A row for each state. `start` and `end`: of its window, ms; `row` and `watermark`: where it stands among what
        arrived; `path`: which of those of its row it is (see `timed_path`). Either `parents`: the rows that made them,
        whose lineage goes on; or `numbers`: how many windows of the task have closed, where lineage begins.
        """
        payload, why = self._payload(states, start, end)
        key = self._key(states)
        frame = payload.with_columns(
            pl.Series(ROW, row, dtype=pl.UInt32),
            key.alias(KEY),
            states["ts"].alias(TS),
            pl.Series(WM, watermark, dtype=pl.Int64),
            *self._execution(states["n"] if numbers is None else numbers, key, start, ctx),
            *(begun(numbers, path, ctx) if numbers is not None else _descended(parents, path)),
        )
        return Made(Batch(frame, self.schema), why)

    def shown(self, states: pl.DataFrame, start: Int64s, end: Int64s) -> pl.DataFrame:
        """States as `sdk.state.ReadsState` gives them."""
        payload, _ = self._payload(states, start, end)
        closes = self.schema.field("window_end") is not None
        edges = [pl.Series(n, at if closes else [None] * len(at), dtype=pl.Int64)
                 for n, at in ((STATE_FROM, start), (STATE_TO, end))]  # fmt: skip
        values = payload.drop("window_start", "window_end", strict=False)
        return pl.DataFrame([self._key(states).alias(STATE_KEY), *edges, *values])

    def _key(self, states: pl.DataFrame) -> pl.Series:
        return key_bytes(states["k0"], next(iter(self.folds.keys.columns.values()))[1])

    def _payload(self, states: pl.DataFrame, start: Int64s, end: Int64s) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Fields of the result, and why rows lack one."""
        keys = self.folds.keys
        values, why = self.folds.outcome(states)
        named = [states[f"k{i}"].alias(field) for i, (field, _) in enumerate(keys.columns.values())]
        edges = [
            pl.Series(name, at).cast(polars_dtype(TIMESTAMP_MS))
            for name, at in (("window_start", start), ("window_end", end))
            if self.schema.field(name) is not None
        ]
        return pl.DataFrame([*named, *edges, *values]), why

    def emitted(self, made: Made | None) -> Result:
        """What an operator gives when time, or the end of a step, brings rows out of its state."""
        if made is None:
            return Result()
        rows, failed = self.from_state(made)
        return Result(outputs={"out": rows}, failed=failed, emitted=len(rows))

    def from_state(self, made: Made) -> tuple[Batch, Batch | None]:
        """(rows, rows that failed), where no row that arrived stands for them: items of nothing but nulls fail."""
        bad = made.bad
        if made.why is None or bad is None:
            return made.rows, None
        lost = made.rows.frame.filter(bad)
        gone = [c for c in lost.columns if not c.startswith("@")]
        nothing = [pl.lit(None, t).alias(n) for n, t in frame_schema(self.source).items()]
        told = made.why.filter(bad).get_columns()
        failed = Batch(lost.drop(gone).with_columns(*nothing, *told), self.source)
        return made.rows.where(~bad), failed

    def _execution(self, revision: pl.Series, key: pl.Series, start: Int64s, ctx: Context) -> list[pl.Expr]:
        """A window begins executions of its own: (node, key, window, revision) names one."""
        text = key.cast(pl.String, strict=False).fill_null("")
        window = pl.Series(start).cast(pl.String)
        id_of = [pl.lit(f"{ctx.node}#"), pl.lit(text), pl.lit("@"), pl.lit(window), pl.lit("."),
                 pl.lit(revision.cast(pl.String))]  # fmt: skip
        no_headers = pl.lit(pl.Series([[]], dtype=HEADERS_DTYPE)).first()
        return [pl.concat_str(id_of).alias(EXECUTION), no_headers.alias(HEADERS)]


def begun(numbers: pl.Series, path: pl.Series, ctx: Context) -> list[pl.Expr | pl.Series]:
    """Lineage of windows that closed: the task's own, where they are numbered."""
    return [
        pl.lit(f"{ctx.workflow}.{ctx.node}/{ctx.partition}").alias(SOURCE),
        numbers.alias(OFFSET),
        pl.lit("").alias(TOPIC),
        pl.lit(ctx.partition, dtype=pl.Int32).alias(PARTITION),
        path.alias(PATH),
    ]


def _descended(parents: pl.DataFrame | None, path: pl.Series) -> list[pl.Expr | pl.Series]:
    """Lineage of what rows made of their windows: theirs, and their place among a row's children."""
    assert parents is not None
    kept: list[pl.Expr | pl.Series] = [parents[c] for c in (SOURCE, OFFSET, TOPIC, PARTITION) if c in parents.columns]
    return [*kept, (parents[PATH] + path if PATH in parents.columns else path).alias(PATH)]


def arriving(
    batch: Batch, projection: Projection, labels: Mapping[str, str], keys: Keys
) -> tuple[Batch, pl.DataFrame, list[Batch | None], int]:
    """(rows that windows can take, their keys and values, rows that failed, how many have no key and are filtered).

    A row fails whose event time is missing, or so far off that no window can be told.
    """
    batch, values, failed = evaluate(batch, projection, labels)
    failures = [failed]
    fits = batch.frame[TS].is_between(-TIME_MS_MAX, TIME_MS_MAX).fill_null(False)
    if not fits.all():
        message = "the event time is missing, or beyond what windows can hold."
        failures.append(fail(batch.where(~fits), "does_not_fit", message))
        batch, values = batch.where(fits), values.filter(fits)
    keyed = values[keys.first].is_not_null()
    filtered = int((~keyed).sum())
    if filtered:
        batch, values = batch.where(keyed), values.filter(keyed)
    return batch, values, failures, filtered


def refuse(
    batch: Batch, values: pl.DataFrame, refused: Refused, failures: list[Batch | None]
) -> tuple[Batch, pl.DataFrame]:
    """(the other rows, their values)."""
    fine = pl.repeat(True, len(batch), eager=True).scatter(list(refused.wrong), False)
    rest, failed = without(batch, refused.wrong)
    failures.append(failed)
    return rest, values.filter(fine)


def numbered(store: StateStore, name: bytes, count: int) -> pl.Series:
    """The next `count` numbers of a task's closed windows, counted in its store under `name`."""
    first = int.from_bytes(store.get(name) or b"\0", "big")
    store.put(name, (first + count).to_bytes(8, "big"))
    return pl.int_range(first, first + count, dtype=pl.Int64, eager=True)


def timed_path(due: Int64s) -> pl.Series:
    """`@path` of rows that time brought out, which are in order of `due`: behind what their row became, by due time,
    and among those of one time by their place. So it says the same however much time passed at once.
    """
    times, which = np.unique(due, return_inverse=True)
    begins = pl.Series(PATH, [(int(time) + (1 << 63)).to_bytes(8, "big") for time in times], dtype=pl.Binary)
    place = np.arange(len(due)) - np.searchsorted(due, due)
    return begins.gather(which) + index_bytes(pl.Series(place))
