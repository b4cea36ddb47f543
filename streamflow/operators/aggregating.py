"""Aggregation over executions: groups, their state between steps, and the rows made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.aggregates import NEEDS_ROWS, Aggregate
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.execution_rows import (
    ExecutionRows,
    arrived,
    as_state,
    by_execution,
    from_state,
    new_rows,
    reserved,
    waiting,
)
from streamflow.operators.folding import Columns, Folding
from streamflow.sdk.errors import ItemError
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result

_GROUP = "@:g"


@dataclass(frozen=True, slots=True)
class FoldedAggregate:
    """A function of windows, over executions. Rows are in order of arrival, whatever their times."""

    fold: Folding
    name: str

    @property
    def parts(self) -> tuple[str, ...]:
        """State columns by suffix."""
        return tuple(self.fold.parts)

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        """What `update` takes of the evaluated rows."""
        return self.fold.values(rows)

    def update(self, old: Columns, group: pl.Series, values: pl.Series | None, groups: int) -> dict[str, pl.Series]:
        """State columns of `groups` groups: the first ones are those of `old`; row i belongs to `group[i]`."""
        units = self.fold.unit(values, pl.repeat(0, len(group), dtype=pl.Int64, eager=True))
        if not old:
            return self.fold.combined(units, group, groups)
        both = {part: pl.concat([old[part].cast(units[part].dtype), units[part]]) for part in units}
        known = pl.int_range(0, len(next(iter(old.values()))), dtype=pl.UInt32, eager=True)
        return self.fold.combined(both, pl.concat([known, group.cast(pl.UInt32)]), groups)

    def result(self, state: Columns) -> pl.Series:
        """Values of the groups."""
        return self.fold.result(state)


def _state_of(aggregate: Aggregate | FoldedAggregate, at: int, state: pl.DataFrame) -> Columns:
    return {s: state[f"{at}{s}"] for s in aggregate.parts if f"{at}{s}" in state.columns}


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups by the columns `keys` and their aggregates, as frames of state."""

    keys: Mapping[str, str]  # column of the rows -> field of the result
    aggregates: tuple[Aggregate | FoldedAggregate, ...]

    def update(self, state: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
        """State after some more rows; groups stay in order of first arrival."""
        names = list(self.keys)
        known = 0 if state is None else state.height
        if names:
            seen = rows.select(names) if state is None else pl.concat([state.select(names), rows.select(names)])
            unique = seen.unique(maintain_order=True).with_row_index(_GROUP)
            found = seen.join(unique, on=names, how="left", nulls_equal=True, maintain_order="left")
            group, new = found[_GROUP].slice(known), unique.drop(_GROUP)
        else:
            group, new = pl.repeat(0, rows.height, dtype=pl.UInt32, eager=True), pl.DataFrame()
        count = new.height if names else 1
        columns: list[pl.Series] = list(new.get_columns())
        for at, aggregate in enumerate(self.aggregates):
            old = {} if state is None else _state_of(aggregate, at, state)
            made = aggregate.update(old, group, aggregate.values(rows), count)
            columns += [series.alias(f"{at}{s}") for s, series in made.items()]
        return pl.DataFrame(columns)

    def result(self, state: pl.DataFrame) -> pl.DataFrame:
        """One row a group. Raises ItemError."""
        columns = [state[column].alias(field) for column, field in self.keys.items()]
        for at, aggregate in enumerate(self.aggregates):
            columns.append(aggregate.result(_state_of(aggregate, at, state)))
        return pl.DataFrame(columns)


@dataclass(frozen=True, slots=True)
class AggregateOperator:
    """Aggregates executions. Those that span steps keep state of groups, or rows where a function needs all values."""

    groups: Groups
    projection: Projection | None
    labels: Mapping[str, str]
    source: Schema
    schema: Schema
    bounded: bool

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed = inputs["in"], None
        if self.projection is not None:
            batch, values, failed = evaluate(batch, self.projection, self.labels)
            batch = batch.with_frame(batch.frame.with_columns(values.get_columns()))
        if self.bounded:
            for execution, rows in by_execution(batch.frame):
                self._keep(execution, rows.drop(batch.payload_columns()), ctx)
            return Result(failed=failed, absorbed=len(batch))
        made: list[pl.DataFrame] = []
        failures: list[Batch | None] = [failed]
        absorbed = 0
        for _, rows in by_execution(batch.frame):
            try:
                done = self._rows(rows, self.groups.update(None, rows))
            except ItemError as error:
                plain = rows.drop([c for c in rows.columns if c.startswith("@:")])
                failures.append(fail(Batch(plain, self.source), error.item_code, error.message))
                continue
            made.append(done)
            absorbed += rows.height - done.height
        return Result(
            outputs={"out": Batch(arrived(made), self.schema)} if made else {},
            failed=join_failed(failures),
            absorbed=absorbed,
        )

    def end(self, execution: str, ctx: Context) -> Result:
        if not self.bounded:
            return Result()
        rows = ExecutionRows(ctx.store("rows"), "rows").take(execution)
        state = ExecutionRows(ctx.store("rows"), "groups").take(execution)
        place = ExecutionRows(ctx.store("rows"), "place").take(execution)
        if rows is None and state is None:
            return Result()
        if rows is not None:
            state, place = self.groups.update(None, rows), rows
        assert state is not None
        assert place is not None
        place = from_state(place.drop([c for c in place.columns if c.startswith("@:")]))
        try:
            made = self._rows(place, state)
        except ItemError as error:
            return Result(failed=fail(self._lost(place.tail(1)), error.item_code, error.message))
        return Result(outputs={"out": Batch(made, self.schema)}, emitted=made.height)

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        entries = stores["rows"]
        states = waiting(entries, "groups")
        states |= {execution: self.groups.update(None, rows) for execution, rows in waiting(entries, "rows").items()}
        return as_state({execution: self.groups.result(state) for execution, state in states.items()})

    def _keep(self, execution: str, rows: pl.DataFrame, ctx: Context) -> None:
        store = ctx.store("rows")
        if any(a.name in NEEDS_ROWS for a in self.groups.aggregates):
            ExecutionRows(store, "rows").add(execution, rows)
            return
        groups, places = ExecutionRows(store, "groups"), ExecutionRows(store, "place")
        groups.add(execution, self.groups.update(groups.take(execution), rows))
        before, here = places.take(execution), rows.drop([c for c in rows.columns if c.startswith("@:")])
        joined = here if before is None else pl.concat([before, here], how="diagonal")
        latest = [pl.col(c).max() if c in ("@ts", "@wm") else pl.col(c).first() for c in reserved(joined)]
        places.add(execution, joined.select(latest))

    def _rows(self, rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
        place = rows.select([c for c in reserved(rows) if not c.startswith("@:")])
        made = self.groups.result(state)
        return new_rows(place, made.select(pl.col(n).cast(t) for n, t in frame_schema(self.schema).items()))

    def _lost(self, place: pl.DataFrame) -> Batch:
        """A row that stands for an execution whose items were folded into state already."""
        columns = [
            pl.lit(b"null").alias(n) if n == PAYLOAD else pl.lit(None, t).alias(n)
            for n, t in frame_schema(self.source).items()
        ]
        return Batch(place.with_columns(columns), self.source)
