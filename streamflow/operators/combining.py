"""Rows of two ports into one, execution by execution: by key, by position, all with all, or one port for the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.execution_rows import (
    ExecutionRows,
    arrived,
    as_state,
    by_execution,
    from_state,
    in_order,
    reserved,
    waiting,
)
from streamflow.operators.gathering import STANDING, TIMED_OUT
from streamflow.operators.late_rows import Waiting
from streamflow.operators.typed_json import untyped_items
from streamflow.sdk.errors import ItemError
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result

COMBINED_ROWS_MAX = 5_000_000  # of one execution: each with each grows fast
_SIDES = ("left", "right")
Sides = dict[str, pl.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class Combine:
    """How rows of one execution come together."""

    mode: str
    join: str
    prefer: str
    keys: int  # columns @:0 … of both sides
    left: Schema
    right: Schema
    schema: Schema
    left_names: Mapping[str, str]
    right_names: Mapping[str, str]
    left_suffix: str
    right_suffix: str

    def rows(self, sides: Sides) -> pl.DataFrame:
        """Combined rows in order, `@row` and `@path` saying so. Raises ItemError."""
        if self.mode == "choose":
            other = "right" if self.prefer == "left" else "left"
            return in_order(sides[self.prefer if self.prefer in sides else other])
        left, right = self._pairs(sides)
        return in_order(self._fields(sides, left, right))

    def _pairs(self, sides: Sides) -> tuple[pl.Series, pl.Series]:
        """Row numbers of both sides that belong together; null where there is no partner."""
        heights = {s: sides[s].height if s in sides else 0 for s in _SIDES}
        numbers = {s: pl.int_range(0, heights[s], dtype=pl.UInt32, eager=True).alias(s) for s in _SIDES}
        how: Any = {"inner": "inner", "left": "left", "outer": "full"}[self.join]
        if self.mode == "combine_all":
            if heights["left"] * heights["right"] > COMBINED_ROWS_MAX:
                raise ItemError(
                    f"{heights['left']:,} items with {heights['right']:,} make more than {COMBINED_ROWS_MAX:,}",
                    item_code="too_large",
                )
            pairs = (
                numbers["left"].to_frame().join(numbers["right"].to_frame(), how="cross", maintain_order="left_right")
            )
        elif self.mode == "combine_by_position":
            one, two = (numbers[s].to_frame().with_columns(numbers[s].alias("at")) for s in _SIDES)
            pairs = one.join(two, on="at", how=how, maintain_order="left_right")
        else:
            pairs = self._matches(sides, numbers, how)
        return pairs["left"], pairs["right"]

    def _matches(self, sides: Sides, numbers: Mapping[str, pl.Series], how: Any) -> pl.DataFrame:
        names = [f"@:{at}" for at in range(self.keys)]
        present = next(iter(sides.values()))
        left, right = (
            (sides[s] if s in sides else present.head(0)).select(names).with_columns(numbers[s]) for s in _SIDES
        )
        for name in names:
            if left[name].dtype != right[name].dtype:
                wide = _common(left[name].dtype, right[name].dtype)
                left, right = (side.with_columns(pl.col(name).cast(wide)) for side in (left, right))
        return left.join(right, on=names, how=how, maintain_order="left_right")

    def _fields(self, sides: Sides, left: pl.Series, right: pl.Series) -> pl.DataFrame:
        columns: list[pl.Series] = []
        if self.schema.kind == "record":
            for side, schema, names, at in (
                ("left", self.left, self.left_names, left),
                ("right", self.right, self.right_names, right),
            ):
                columns.extend(
                    _gathered(sides.get(side), f.name, at, self.schema, names[f.name]) for f in schema.fields
                )
        else:
            columns.append(self._objects(sides, left, right))
        made = pl.DataFrame(columns)
        return made.with_columns(self._reserved(sides, left, right))

    def _reserved(self, sides: Sides, left: pl.Series, right: pl.Series) -> list[pl.Series]:
        """Of the left row, or of the right where there is no left one; times are the later of both."""
        columns: list[pl.Series] = []
        for name in dict.fromkeys(n for s in sides.values() for n in reserved(s) if not n.startswith("@:")):
            given = [
                sides[s][name].gather(at) if s in sides and name in sides[s].columns else None
                for s, at in (("left", left), ("right", right))
            ]
            one, two = given
            if one is None or two is None:
                found = one if one is not None else two
                assert found is not None
            elif name in ("@ts", "@wm"):
                found = pl.select(pl.max_horizontal(one.alias("a"), two.alias("b"))).to_series()
            else:
                found = one.zip_with(left.is_not_null(), two)
            columns.append(found.alias(name))
        return columns

    def _objects(self, sides: Sides, left: pl.Series, right: pl.Series) -> pl.Series:
        parsed: dict[str, list[dict[str, Any]]] = {}
        for side, schema in (("left", self.left), ("right", self.right)):
            texts = untyped_items(Batch(sides[side], schema)).to_list() if side in sides else []
            values = [orjson.loads(t) if t is not None else None for t in texts]
            parsed[side] = [v for v in values if isinstance(v, dict)]
            if len(parsed[side]) < len(values):
                raise ItemError(f"{side}: an item is no JSON object", item_code="wrong_type")
        items = []
        for a, b in zip(left.to_list(), right.to_list(), strict=True):
            one = parsed["left"][a] if a is not None else {}
            two = parsed["right"][b] if b is not None else {}
            items.append(orjson.dumps(self._merged(one, two)))
        return pl.Series(PAYLOAD, items, dtype=pl.Binary)

    def _merged(self, one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
        item = {(f"{k}{self.left_suffix}" if k in two else k): v for k, v in one.items()}
        for key, value in two.items():
            name = f"{key}{self.right_suffix}" if key in one else key
            if name in item:
                raise ItemError(f"a combined item would have two fields {name!r}", item_code="collision")
            item[name] = value
        return item


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    """The dtype in which keys of two dtypes are compared."""
    if one.is_numeric() and other.is_numeric() and not one.is_decimal():
        return pl.Float64() if one.is_float() or other.is_float() else pl.Int64()
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime):
        return one if one.time_unit == "us" else other
    return one


def _gathered(side: pl.DataFrame | None, name: str, at: pl.Series, schema: Schema, new: str) -> pl.Series:
    if side is None:
        return pl.repeat(None, len(at), dtype=frame_schema(schema)[new], eager=True).alias(new)
    return side[name].gather(at).alias(new)


@dataclass(frozen=True, slots=True)
class CombineOperator:
    """Feeds `Combine` with whole executions; rows of those that span steps wait in the store `rows`."""

    combine: Combine
    keys: Mapping[str, tuple[Projection, Mapping[str, str]]]
    bounded: bool
    waiting: Waiting = field(default_factory=Waiting)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        failures: list[Batch | None] = []
        executions: dict[str, Sides] = {}
        late: list[pl.DataFrame] = []
        absorbed = 0
        for port in _SIDES:
            if port not in inputs:
                continue
            batch, behind = self.waiting.split(port, inputs[port])
            if behind is not None:
                passed, failed = self.waiting.lately(port, behind)
                late += [] if passed is None else [passed]
                failures.append(failed)
            batch, failed = self._keyed(port, batch)
            failures.append(failed)
            if self.bounded:
                ExecutionRows(ctx.store("rows"), port).add_all(batch.frame)
                absorbed += len(batch)
                continue
            for execution, rows in by_execution(batch.frame):
                executions.setdefault(execution, {})[port] = rows
        made: list[pl.DataFrame] = []
        filtered = 0
        for sides in executions.values():
            count = sum(s.height for s in sides.values())
            try:
                rows = self._rows(sides)
            except ItemError as error:
                failures += self._failed(sides, error)
                continue
            if rows.height:
                made.append(rows)
                absorbed += max(count - rows.height, 0)
            else:
                filtered += count
        return Result(
            outputs={**(self._by_port(arrived(made)) if made else {}), **self._late(late)},
            failed=join_failed(failures),
            filtered=filtered,
            absorbed=absorbed,
        )

    def _by_port(self, rows: pl.DataFrame) -> dict[str, Batch]:
        if STANDING not in rows.columns:
            return {"out": Batch(rows, self.combine.schema)}
        over = rows[STANDING] == TIMED_OUT
        rows = rows.drop(STANDING)
        if self.waiting.over == "out" or not over.any():
            return {"out": Batch(rows, self.combine.schema)}
        parts = {"out": rows.filter(~over), self.waiting.over: rows.filter(over)}
        return {port: Batch(part, self.combine.schema) for port, part in parts.items() if part.height}

    def _late(self, frames: Sequence[pl.DataFrame]) -> dict[str, Batch]:
        if not frames or self.waiting.late is None:
            return {}
        return {"late": Batch(arrived([*frames]), self.waiting.late)}

    def end(self, execution: str, ctx: Context) -> Result:
        sides: Sides = {}
        for port in _SIDES if self.bounded else ():
            rows = ExecutionRows(ctx.store("rows"), port).take(execution)
            if rows is not None:
                sides[port] = from_state(rows)
        if not sides:
            return Result()
        try:
            made = from_state(self._rows(sides))
        except ItemError as error:
            return Result(failed=join_failed(self._failed(sides, error)))
        return Result(outputs={"out": Batch(made, self.combine.schema)} if made.height else {}, emitted=made.height)

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        sides = [as_state(waiting(stores["rows"], port), **{"@port": port}) for port in _SIDES]
        return pl.concat(sides, how="diagonal")

    def _keyed(self, port: str, batch: Batch) -> tuple[Batch, Batch | None]:
        if port not in self.keys:
            return batch, None
        projection, labels = self.keys[port]
        batch, values, failed = evaluate(batch, projection, labels)
        return batch.with_frame(batch.frame.with_columns(values.get_columns())), failed

    def _rows(self, sides: Sides) -> pl.DataFrame:
        """Combined rows in places of the rows that went in."""
        made = self.combine.rows(sides)
        rows = pl.concat([s["@row"] for s in sides.values()]).sort()
        at = pl.int_range(0, made.height, dtype=pl.UInt32, eager=True).clip(upper_bound=max(len(rows) - 1, 0))
        return made.drop([c for c in made.columns if c.startswith("@:")]).with_columns(rows.gather(at).alias("@row"))

    def _failed(self, sides: Sides, error: ItemError) -> list[Batch | None]:
        schemas = {"left": self.combine.left, "right": self.combine.right}
        return [
            fail(
                Batch(rows.drop([c for c in rows.columns if c.startswith("@:")]), schemas[side]),
                error.item_code,
                error.message,
            )
            for side, rows in sides.items()
        ]
