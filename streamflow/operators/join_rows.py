"""The rows that a join gives: fields of both sides, and where each row comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import (
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
from streamflow.model.types import PAYLOAD, Schema, Type, frame_schema, polars_dtype
from streamflow.operators.execution_rows import NOTHING_KEPT
from streamflow.operators.explode import index_bytes
from streamflow.operators.join_index import JOIN_KEY, JOIN_TIME, Int64s, Run
from streamflow.operators.join_times import NEVER, SIDES, JoinTimes, Side
from streamflow.operators.keys import key_bytes
from streamflow.operators.window_rows import begun, timed_path
from streamflow.sdk.operator import Context, StepTimes
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO

_WHO: Final = "@:who"  # number of the row
_WHEN: Final = "@:when"  # the watermark that brought it about


@dataclass(frozen=True, slots=True)
class Output:
    """One field of what comes out: column `of` of a side; `both` where the sides have it in common (a key)."""

    name: str
    side: Side
    of: str
    both: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of both sides that belong together, row by row; None or -1: there is none."""

    left: Run | None
    left_rows: Int64s
    right: Run | None
    right_rows: Int64s

    def side(self, side: Side) -> tuple[Run | None, Int64s]:
        return (self.left, self.left_rows) if side == "left" else (self.right, self.right_rows)

    def number(self, side: Side) -> Int64s:
        """How many rows had come before each; -1 where there is none."""
        return self._of(side, "number", -1)

    def ts(self, side: Side) -> Int64s:
        return self._of(side, "ts", -(2**63))

    def _of(self, side: Side, what: str, none: int) -> Int64s:
        run, rows = self.side(side)
        if run is None or not len(run):
            return np.full(len(rows), none, np.int64)
        values: Int64s = getattr(run, what)
        return np.where(rows < 0, none, values[rows])

    def where(self, mask: npt.NDArray[np.bool_]) -> Found:
        return Found(self.left, self.left_rows[mask], self.right, self.right_rows[mask])

    def __len__(self) -> int:
        return len(self.left_rows)


def _in_order(who: Int64s, when: Int64s, whose: Int64s) -> bool:
    """Whether rows are ascending by (who, when, whose). Those that one run gave are."""
    less, same = np.diff(who) > 0, np.diff(who) == 0
    sooner, at_once = np.diff(when) > 0, np.diff(when) == 0
    return bool((less | (same & (sooner | (at_once & (np.diff(whose) >= 0))))).all())


def alone(run: Run, rows: Int64s) -> Found:
    """Rows of one side without the other."""
    none = np.full(len(rows), -1, np.int64)
    return Found(run, rows, None, none) if run.side == "left" else Found(None, none, run, rows)


@dataclass(frozen=True, slots=True)
class Child:
    """What is given for rows `which` of this step: `rows` as they came, `run` as the join has them.

    `partner_rows` of `partner`: the rows by which several children of one row are put in order.
    """

    found: Found
    rows: pl.DataFrame
    which: Int64s
    run: Run
    partner: Run
    partner_rows: Int64s


@dataclass(frozen=True, slots=True)
class JoinRows:
    """Makes rows. `key_type`: of the column JOIN_KEY; `late`: schema of `{left, right}`."""

    schema: Schema
    late: Schema
    outputs: tuple[Output, ...]
    key_type: Type
    left_time: bool  # rows have the event time of the left side alone

    def arrived(self, children: Sequence[Child], ctx: Context) -> Batch | None:
        """What rows of this step brought about. A row's children are in order of their partners' event times, then of
        their arrival.
        """
        children = [child for child in children if len(child.found)]
        if not children:
            return None
        who = np.concatenate([c.run.number[c.which] for c in children])
        when = np.concatenate([c.partner.ts[c.partner_rows] for c in children])
        whose = np.concatenate([c.partner.number[c.partner_rows] for c in children])
        frame = pl.concat([self._child(child, ctx) for child in children], rechunk=False)
        if not _in_order(who, when, whose):
            order = np.lexsort((whose, when, who))
            frame, who = frame[pl.Series(order, dtype=pl.UInt32)], who[order]
        if len({child.run.side for child in children}) > 1:  # one row may have come by both ports
            row = [c for c in (ROW, PATH) if c in frame.columns]
            nth = frame.select(pl.int_range(pl.len()).over(row)).to_series()
        else:
            first = np.flatnonzero(np.diff(who, prepend=-1))
            nth = pl.Series(np.arange(len(who)) - np.repeat(first, np.diff(first, append=len(who))))
        index = index_bytes(nth)
        path = (frame[PATH] + index if PATH in frame.columns else index).alias(PATH)
        return Batch(frame.with_columns(path), self.schema)

    def _child(self, child: Child, ctx: Context) -> pl.DataFrame:
        known = child.rows.columns
        kept = [c for c in (ROW, WM, SOURCE, OFFSET, TOPIC, PARTITION, PATH) if c in known]
        columns = child.rows.select(kept)[pl.Series(child.which, dtype=pl.UInt32)].get_columns()
        return self.fields(child.found).with_columns(*columns, *self._of_pair(child.found, ctx, known))

    def timed(
        self,
        parts: Sequence[tuple[Found, Int64s]],
        times: StepTimes,
        given: int,
        known: Sequence[str] | None,
        ctx: Context,
    ) -> Batch | None:
        """Rows that time brought out, (rows, due). `given`: how many such rows this task has given before. `known`:
        reserved columns that are asked for; None: any may be.
        """
        parts = [(found, due) for found, due in parts if len(found)]
        if not parts:
            return None
        frames = []
        for found, due in parts:
            who = found.number("left" if found.left is not None else "right")
            frame = self.fields(found).with_columns(pl.Series(_WHEN, due), pl.Series(_WHO, who))
            frames.append(frame.with_columns(self._of_pair(found, ctx, known)))
        frame = pl.concat(frames).sort(_WHEN, _WHO, maintain_order=True)
        due = frame[_WHEN].to_numpy()
        numbers = pl.int_range(given, given + frame.height, dtype=pl.Int64, eager=True)
        made = frame.drop(_WHEN, _WHO).with_columns(
            pl.Series(ROW, times.crossing(due), dtype=pl.UInt32),
            pl.Series(WM, due - 1),
            *begun(numbers, timed_path(due), ctx),
        )
        return Batch(made, self.schema)

    def fields(self, found: Found) -> pl.DataFrame:
        dtypes = frame_schema(self.schema)
        gathered = {}
        for side in SIDES:
            run, rows = found.side(side)
            if run is not None:
                missing = (rows < 0).any() if len(rows) else False
                at = pl.Series(np.where(rows < 0, 0, rows), dtype=pl.UInt32)
                gathered[side] = run, at.set(pl.Series(rows < 0), None) if missing else at
        columns = []
        for output in self.outputs:
            values = [gathered[s][0].frame[output.of].gather(gathered[s][1])
                      for s in (SIDES if output.both else (output.side,)) if s in gathered]  # fmt: skip
            if not values:
                columns.append(pl.repeat(None, len(found), dtype=dtypes[output.name], eager=True).alias(output.name))
            elif len(values) == 1:
                columns.append(values[0].alias(output.name))
            else:
                columns.append(values[0].zip_with(values[0].is_not_null(), values[1]).alias(output.name))
        return pl.DataFrame(columns)

    def _of_pair(self, found: Found, ctx: Context, known: Sequence[str] | None) -> list[pl.Series | pl.Expr]:
        """Event time, key and execution: a pair begins one of its own, named by its node, its key and both rows."""
        left, right = found.ts("left"), found.ts("right")
        at = np.where(found.number("left") < 0, right, left) if self.left_time else np.maximum(left, right)
        columns: list[pl.Series | pl.Expr] = [pl.Series(TS, at)]
        run, rows = found.side("left" if found.left is not None else "right")
        assert run is not None
        key = key_bytes(run.key.gather(pl.Series(rows, dtype=pl.UInt32)), self.key_type)
        if known is None or KEY in known:
            columns.append(key)
        if known is None or EXECUTION in known:
            one, two = (pl.Series(found.number(s)).cast(pl.String).replace("-1", "") for s in SIDES)
            text = key.cast(pl.String, strict=False).fill_null("")
            columns.append(pl.concat_str([pl.lit(f"{ctx.node}#"), pl.lit(text), pl.lit("@"), pl.lit(one),
                                          pl.lit("+"), pl.lit(two)]).alias(EXECUTION))  # fmt: skip
        if known is None or HEADERS in known:
            columns.append(pl.lit(pl.Series([[]], dtype=HEADERS_DTYPE)).first().alias(HEADERS))
        return columns

    def held(self, sides: Mapping[Side, pl.DataFrame], times: JoinTimes) -> pl.DataFrame:
        """Rows of JOIN_KEY, JOIN_TIME and payload as `sdk.state.ReadsState` gives them, under the names of their
        sides.
        """
        shown = [NOTHING_KEPT]
        for side, rows in sides.items():
            ts = rows[JOIN_TIME]
            leaves = pl.Series(times.closes(side, ts.to_numpy()))
            item = rows.drop(c for c in rows.columns if c.startswith("@:"))
            columns = [
                key_bytes(rows[JOIN_KEY], self.key_type).alias(STATE_KEY),
                ts.alias(STATE_FROM),
                leaves.set(leaves == NEVER, None).alias(STATE_TO),
                *self._named(side, Batch(item, self.late)),
            ]
            shown.append(pl.DataFrame(columns))
        return pl.concat(shown, how="diagonal")

    def _named(self, side: Side, batch: Batch) -> list[pl.Series]:
        """Items as columns `left` and `right`, of which one is null."""
        frame = batch.frame.select(c for c in batch.frame.columns if c == PAYLOAD or not c.startswith("@"))
        item = frame[PAYLOAD] if PAYLOAD in frame.columns else frame.to_struct()
        columns = []
        for f in self.late.fields:
            dtype = polars_dtype(f.type)
            here = f.name == side
            columns.append(
                (item.cast(dtype) if here else pl.repeat(None, len(batch), dtype=dtype, eager=True)).alias(f.name)
            )
        return columns

    def too_late(self, parts: Sequence[tuple[Side, Batch]]) -> Batch:
        """Rows as they came, each under the name of its side."""
        frames = [
            pl.DataFrame(self._named(side, batch)).with_columns(batch.frame.select(batch.reserved_columns()))
            for side, batch in parts
        ]
        if len(frames) == 1:
            return Batch(frames[0], self.late)
        frame = pl.concat(frames, how="diagonal")
        by = [ROW, PATH] if PATH in frame.columns else [ROW]
        return Batch(frame.sort(by, maintain_order=True), self.late)
