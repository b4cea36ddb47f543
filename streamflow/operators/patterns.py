"""Rows of a key that follow each other as a pattern says.

State: for each key its rows that are part of an open match, or that event time has not passed yet, in order of time.
Which rows a match has taken is not kept: it follows from the rows, which are walked again. A row says whether the match
that begins with it is open still.

What conditions say of rows is computed for whole columns. Putting matches together has no columnar form: it goes row by
row in Python, over rows that satisfy a condition, each time its key comes up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import polars as pl

from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.model.types import LONG, PAYLOAD, Schema
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.key_lists import NEVER, KeyLists, Lists
from streamflow.operators.keyed import KEY_VALUE, arriving, clipped, shown
from streamflow.operators.pattern_rows import KEY_COLUMN, Match, PatternRows
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes

STORE: Final = "matches"
STEPS_MAX: Final = 32
# Columns of kept rows: which conditions a row satisfies (bits), and what it is waiting for.
_BITS, _STATE, _GROUP = "@:bits", "@:state", "@:group"
# A row that time has not passed; one that begins an open match; one that is only part of one.
_NEW, _BEGINS, _PART = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows what: `steps` conditions, all in less than `within_ms`. Strict: no row of the key between."""

    steps: int
    within_ms: int
    strict: bool


@dataclass(slots=True)
class PatternOperator:
    """Matches come out whole by the port `out`, and in part by `timeout`. `labels` names expressions in messages."""

    rule: Rule
    grace_ms: int
    projection: Projection
    labels: Mapping[str, str]
    source: Schema
    made: PatternRows
    holds_ms: int = field(init=False)
    _rows: KeptRows = field(init=False)

    def __post_init__(self) -> None:
        self.holds_ms = self.grace_ms + 1
        self._rows = KeptRows(
            self.source, {}, {KEY_COLUMN: self.projection.types[KEY_VALUE], _BITS: LONG, _STATE: LONG}
        )

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        rows = arriving(inputs["in"], self.projection, self.labels, grace_ms=self.grace_ms)
        bits = self._bits(rows.values)
        if not self.rule.strict:
            some = bits > 0
            rows.filtered += int((~some).sum())
            rows.batch, rows.values, bits = rows.batch.where(some), rows.values.filter(some), bits.filter(some)
            rows.group = rows.group[some.to_numpy()]
        if not len(rows.batch):
            return rows.result()
        lists = KeyLists(ctx.store(STORE))
        touched, group = np.unique(rows.group, return_inverse=True)
        before = lists.load([rows.names[g] for g in touched.tolist()])
        new = rows.batch.frame.drop(ROW, WM).with_columns(
            rows.values[KEY_VALUE].alias(KEY_COLUMN),
            bits.alias(_BITS),
            pl.lit(_NEW, dtype=pl.Int64).alias(_STATE),
            pl.Series(_GROUP, group, dtype=pl.Int64),
        )
        self._keep(lists, before, _in_order(pl.concat([self._decode(before), new], how="diagonal")))
        return rows.result(absorbed=len(rows.batch))

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Matches that are over come out; rows that no open match needs are forgotten."""
        store = ctx.store(STORE)
        lists = KeyLists(store)
        names = lists.ringing(times.end_ms)
        if not names:
            return Result()
        before = lists.load(names, rung_ms=times.end_ms)
        rows = _in_order(self._decode(before))
        settled_ms = clipped(times.end_ms) - self.grace_ms
        over, states = self._matches(rows, settled_ms)
        self._keep(lists, before, rows.with_columns(states.alias(_STATE)).filter(states.is_not_null()))
        if not over:
            return Result()
        over.sort(key=lambda m: (m.due, m.group, m.rows))  # groups are in order of their names
        return Result(outputs=self.made.made(over, rows, names, times, store, ctx), emitted=len(over))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The items that are kept of each key, with their times."""
        keys, values = KeyLists.read(stores[STORE])
        rows = self._rows.decode(values)
        items = rows.select(c for c in rows.columns if not c.startswith("@") or c == PAYLOAD)
        return shown(keys, rows[TS], rows[TS] + 1, items)

    def _bits(self, values: pl.DataFrame) -> pl.Series:
        """Which conditions rows satisfy; a null is false."""
        names = [n for n in values.columns if n != KEY_VALUE]
        bit = [pl.col(n).fill_null(False).cast(pl.Int64) * (1 << i) for i, n in enumerate(names)]
        return values.select(pl.sum_horizontal(bit).alias(_BITS)).to_series()

    def _decode(self, lists: Lists) -> pl.DataFrame:
        return self._rows.decode(lists.values).with_columns(pl.Series(_GROUP, lists.group, dtype=pl.Int64))

    def _keep(self, lists: KeyLists, before: Lists, rows: pl.DataFrame) -> None:
        values: dict[int, list[bytes]] = {}
        due: dict[int, int] = {}
        waits = pl.col(_STATE).replace_strict(
            {_NEW: 1, _BEGINS: self.rule.within_ms, _PART: 1 << 62}, return_dtype=pl.Int64
        )
        at = rows.select(pl.col(TS) + self.grace_ms + waits).to_series().to_list()
        encoded = self._rows.encode(rows)
        for group, due_ms, value in zip(rows[_GROUP].to_list(), at, encoded, strict=True):
            values.setdefault(group, []).append(value)
            due[group] = min(due.get(group, NEVER), due_ms)
        lists.keep(before, values, due)

    def _matches(self, rows: pl.DataFrame, settled_ms: int) -> tuple[list[Match], pl.Series]:
        """(matches that are over, the new state of each row: null where it is needed no more)."""
        over: list[Match] = []
        states: list[int | None] = [_NEW] * rows.height
        group, ts, bits, was = (rows[c].to_list() for c in (_GROUP, TS, _BITS, _STATE))
        edges = np.flatnonzero(np.diff(rows[_GROUP].to_numpy(), prepend=-1, append=-1)).tolist()
        for first, end in pairwise(edges):
            settled = bisect_left(ts, settled_ms, first, end)
            states[first:settled] = [None] * (settled - first)
            after = self._next(bits, first, settled)
            for start in range(first, settled):
                if was[start] == _PART or not bits[start] & 1:
                    continue
                taken, end_of = self._walk(start, settled, ts, bits, after, first)
                if end_of == "waits" and settled_ms < ts[start] + self.rule.within_ms:
                    states[start] = _BEGINS
                    for row in taken[1:]:
                        states[row] = _PART
                elif end_of == "whole":
                    at = ts[taken[-1]]
                    over.append(Match(at + self.grace_ms + 1, group[start], tuple(taken), at, True))
                elif end_of != "broken":
                    at = ts[start] + self.rule.within_ms
                    over.append(Match(at + self.grace_ms, group[start], tuple(taken), at, False))
        return over, pl.Series(_STATE, states, dtype=pl.Int64)

    def _next(self, bits: Sequence[int], first: int, end: int) -> list[list[int]]:
        """For each step but the first: for each row from `first` to `end`, the first from there on that satisfies it;
        `end` where none does.
        """
        found: list[list[int]] = []
        for step in range(1, self.rule.steps if not self.rule.strict else 0):
            at, nexts = end, [end] * (end - first + 1)
            for row in range(end - 1, first - 1, -1):
                at = row if bits[row] >> step & 1 else at
                nexts[row - first] = at
            found.append(nexts)
        return found

    def _walk(
        self, start: int, end: int, ts: Sequence[int], bits: Sequence[int], after: Sequence[Sequence[int]], first: int
    ) -> tuple[list[int], Literal["whole", "waits", "late", "broken"]]:
        """The rows of the match that begins at `start`, of those before `end`, and how it stands."""
        taken = [start]
        for step in range(1, self.rule.steps):
            row = taken[-1] + 1 if self.rule.strict else after[step - 1][taken[-1] + 1 - first]
            if row == end:
                return taken, "waits"
            if ts[row] - ts[start] >= self.rule.within_ms:
                return taken, "late"
            if not bits[row] >> step & 1:
                return taken, "broken"
            taken.append(row)
        return taken, "whole"


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By key and time; of equal times the one that came later stands behind."""
    return rows.sort([_GROUP, TS], maintain_order=True)
