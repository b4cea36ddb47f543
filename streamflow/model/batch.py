"""Batch: the unit of all work. A polars frame of items, its schema, and where it came from.

Reserved columns start with `@`, which no Avro name may. Every operator carries them through; only those that
something downstream uses are present (`StagePlan.needs`), except `@row`, which always is.

| column       | dtype          | what |
|--------------|----------------|------|
| `@row`       | UInt32         | arrival index of the input row within this step: finds its record again |
| `@key`       | Binary, null   | the record key as bytes on the log |
| `@ts`        | Int64          | event time, ms since 1970 |
| `@wm`        | Int64          | watermark at this row, ms |
| `@source`    | String         | the trigger's position without its offset: `topic#incarnation/partition` |
| `@offset`    | Int64          | offset of the trigger item |
| `@execution` | String         | id of the execution: `source:offset` of what started it |
| `@deadline`  | Int64, null    | when the execution has had its time, wall clock, ms; with `policies.timeout` |
| `@path`      | Binary         | child indices since the trigger, 4 bytes big-endian each: bytewise order is theirs |
| `@headers`   | List(Struct{key: String, value: Binary}) | record headers |
| `@topic`, `@partition`, `@position` | String, Int32, Int64 | where the stage read this row |
| `@item`      | Binary         | the payload of items that are no records (see types.PAYLOAD) |
| `@gone`      | Binary, or the key's type | between a topic and the node beside it: key of a record without value |
| `@nodes.<id>.<field>` | any   | what an earlier node produced for this item, kept because an expression names it |
| `@loop.<id>.<field>`  | any   | in the body of loop `<id>`: what `loop.<field>` names, and what the loop remembers |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
import polars as pl

from streamflow.model.types import PAYLOAD, Schema

ROW, KEY, TS, WM, SOURCE, OFFSET = "@row", "@key", "@ts", "@wm", "@source", "@offset"
EXECUTION, PATH, HEADERS = "@execution", "@path", "@headers"
DEADLINE = "@deadline"
TOPIC, PARTITION, POSITION = "@topic", "@partition", "@position"
GONE = "@gone"
ERROR_CODE, ERROR_MESSAGE, ERROR_NODE = "@error_code", "@error_message", "@error_node"
ERROR_ATTEMPT = "@error_attempt"  # how often the row was tried; not there or null: once
HEADERS_DTYPE = pl.List(pl.Struct({"key": pl.String(), "value": pl.Binary()}))

RESERVED: dict[str, pl.DataType] = {
    ROW: pl.UInt32(), KEY: pl.Binary(), TS: pl.Int64(), WM: pl.Int64(), SOURCE: pl.String(), OFFSET: pl.Int64(),
    EXECUTION: pl.String(), DEADLINE: pl.Int64(), PATH: pl.Binary(), HEADERS: HEADERS_DTYPE, TOPIC: pl.String(),
    PARTITION: pl.Int32(), POSITION: pl.Int64(), ERROR_CODE: pl.String(), ERROR_MESSAGE: pl.String(),
    ERROR_NODE: pl.String(),
    ERROR_ATTEMPT: pl.Int32(),
}  # fmt: skip


# What was made of JSON columns, row by row, by whoever needed it first: Python values (a list), or columns of members
# (a DataFrame). Shared, so never changed.
Parsed = dict[str, Any]


PASSED = "@"  # among the fields that are kept of a node: true for each item that has passed it


_FEW = 64  # rows


def without_columns(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The frame without these columns, if it has them. `DataFrame.drop` makes a lazy query of it: some 0.1 ms."""
    return frame[[c for c in frame.columns if c not in names]]


def with_series(frame: pl.DataFrame, columns: list[pl.Series]) -> pl.DataFrame:
    """The frame with these columns, added or replaced; for columns that are new sooner than `with_columns`."""
    have = frame.columns
    if not have or any(c.name in have for c in columns):
        return frame.with_columns(columns)
    return frame.hstack(columns)


def rows_where(frame: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """The rows where `mask` is true; a null is false. Of few rows they are taken by their numbers, which is sooner."""
    if frame.height > _FEW or mask.null_count():
        return frame.filter(mask)
    return frame[np.flatnonzero(mask.to_numpy())]


def kept_column(node: str, field: str) -> str:
    """Name of the reserved column that keeps `field` as node `node` produced it."""
    return f"@nodes.{node}.{field}"


def kept_columns(node: str, fields: Iterable[str]) -> dict[str, pl.Expr]:
    """What is kept of the items of a node, by column."""
    return {kept_column(node, f): pl.lit(True) if f == PASSED else pl.col(f) for f in fields}


def loop_column(loop: str, field: str) -> str:
    """Name of the reserved column that rows of the body of node `loop` carry for `loop.<field>`."""
    return f"@loop.{loop}.{field}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one schema. `frame` has the schema's payload columns and any reserved ones, in any order.

    `parsed` lets operators that follow each other parse JSON once, see `Parsed`. None: nobody keeps it, as the batch is
    too large.
    """

    frame: pl.DataFrame
    schema: Schema
    parsed: Parsed | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return self.frame.height

    def payload_columns(self) -> list[str]:
        """Names of the columns that are the item itself."""
        if self.schema.kind == "record":
            return [f.name for f in self.schema.fields]
        return [PAYLOAD]

    def reserved_columns(self) -> list[str]:
        """Names of the columns that travel with the item: all that start with `@`, but for `@item`."""
        return [c for c in self.frame.columns if c.startswith("@") and c != PAYLOAD]

    def payload(self) -> pl.DataFrame:
        return self.frame.select(self.payload_columns())

    def with_frame(self, frame: pl.DataFrame, schema: Schema | None = None) -> Batch:
        """Another frame; what was parsed of this one is forgotten."""
        return Batch(frame, self.schema if schema is None else schema, None if self.parsed is None else {})

    def where(self, mask: pl.Series) -> Batch:
        """The rows where `mask` is true; a null is false."""
        rows = self.with_frame(rows_where(self.frame, mask))
        if self.parsed:
            return replace(rows, parsed={name: _where(values, mask) for name, values in self.parsed.items()})
        return rows


def _where(values: Any, mask: pl.Series) -> Any:
    return values.filter(mask) if isinstance(values, pl.DataFrame) else list(compress(values, mask.to_list()))
