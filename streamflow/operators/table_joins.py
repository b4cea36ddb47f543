"""Two tables with one key as one: at each change of either, the row that was and the row that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from streamflow.model.batch import TS, Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import join_failed
from streamflow.operators.table_rows import NOTHING, Bools, Int64s, PortKey, TableState, Versions, child_rows
from streamflow.operators.table_rows import gather as gathered
from streamflow.sdk.operator import Context, Result

Join = Literal["inner", "left", "outer"]
SIDES = ("left", "right")


@dataclass(slots=True)
class TableJoinOperator:
    """`fields`: for each side, field of the side -> field of the result."""

    keys: Mapping[str, PortKey]  # ports in the order of changes at one place: a side's deletions before its rows
    left: TableState
    right: TableState
    fields: Mapping[str, Mapping[str, str]]
    schema: Schema
    join: Join

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes = gathered(inputs, self.keys)
        both: list[Versions] = []
        for state in (self.left, self.right):
            store = ctx.store(state.store)
            both.append(state.versions(changes, store, upserts=state.store, deletions=f"{state.store}_gone"))
            state.keep(changes, both[-1], store)
        left, right = both
        moved = (left.before != left.after) | (right.before != right.after)
        was, now = moved & self._is(left.before, right.before), moved & self._is(left.after, right.after)
        # The time of a change, or that of the row beside it if that is later.
        beside = [pl.Series(_beside(v)).alias(side) for side, v in zip(SIDES, both, strict=True)]
        times = pl.select(pl.max_horizontal(changes.frame[TS].alias("at"), *beside)).to_series()
        outputs: dict[str, Batch] = {}
        for nth, (port, there, versions) in enumerate(
            (("gone", was, (left.before, right.before)), ("out", now, (left.after, right.after)))
        ):
            at = np.flatnonzero(there)
            if len(at):
                rows = child_rows(changes.frame, at, nth=nth, ts=times.gather(at))
                values = [
                    column
                    for side, table, of in zip(SIDES, both, versions, strict=True)
                    for column in table.take(of[at], self.fields[side])
                ]
                outputs[port] = Batch(rows.with_columns(values), self.schema)
        return Result(
            outputs=outputs,
            failed=join_failed(changes.failures),
            filtered=sum(changes.without_key.values()),
            absorbed=int((~was & ~now).sum()),
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The row of each key of both sides; `side` says which."""
        sides = [(state.store, state.shown(stores[state.store])) for state in (self.left, self.right)]
        return pl.concat([rows.with_columns(pl.lit(side).alias("side")) for side, rows in sides], how="diagonal")

    def _is(self, left: Int64s, right: Int64s) -> Bools:
        """Where the joined table has a row."""
        has_left, has_right = left != NOTHING, right != NOTHING
        both: Bools = has_left & has_right
        either: Bools = has_left | has_right
        there: Bools = {"inner": both, "left": has_left, "outer": either}[self.join]
        return there


def _beside(versions: Versions) -> pl.Series:
    """Times of the rows of a side that the change left as they were; null elsewhere."""
    stayed = np.where(versions.before == versions.after, versions.after, NOTHING)
    return versions.times(stayed)
