"""Whole rows in state, each a value of its own: the item, and those reserved columns that travel with it.

What the rows of a task carry is settled when its plan is made, but an operator is not told: so all columns that there
can be are fields that may be null, and a row says which of them it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import (
    DEADLINE,
    EXECUTION,
    HEADERS,
    HEADERS_DTYPE,
    KEY,
    OFFSET,
    PARTITION,
    PATH,
    SOURCE,
    TOPIC,
    TS,
    kept_column,
)
from streamflow.model.types import (
    BYTES,
    INT,
    LONG,
    PAYLOAD,
    STRING,
    Schema,
    Type,
    array_of,
    polars_dtype,
    record_of,
)

_TRAVELS: Final[Mapping[str, Type]] = {
    KEY: BYTES,
    SOURCE: STRING,
    OFFSET: LONG,
    EXECUTION: STRING,
    DEADLINE: LONG,
    PATH: BYTES,
    TOPIC: STRING,
    PARTITION: INT,
    HEADERS: array_of(record_of({"key": STRING, "value": BYTES.optional()}, name="Header")),
}
_HAS: Final = "has"  # bits: which of the reserved columns a row has, in their order


class KeptRows:
    """Values of rows of one schema. `earlier`: schemas behind `nodes.<id>`; `more`: an operator's own columns;
    `remembered`: what loops across topics remember, by column.
    """

    def __init__(
        self,
        schema: Schema,
        earlier: Mapping[str, Schema],
        more: Mapping[str, Type] | None = None,
        *,
        remembered: Mapping[str, Type] | None = None,
    ) -> None:
        item = {f.name: f.type for f in schema.fields} if schema.kind == "record" else {PAYLOAD: _plain(schema)}
        self._reserved = dict(_TRAVELS)
        for node, of in sorted(earlier.items()):
            fields = {f.name: f.type for f in of.fields} if of.kind == "record" else {PAYLOAD: _plain(of)}
            self._reserved |= {kept_column(node, name): kind for name, kind in fields.items()}
        self._reserved |= remembered or {}
        self._fields = {TS: LONG, **(more or {}), **item, **{n: t.optional() for n, t in self._reserved.items()}}
        names = {f"c{i}": of for i, of in enumerate(self._fields.values())}
        many = -(-len(self._reserved) // 32)
        self._bits = [f"{_HAS}{i}" for i in range(many)]
        self._codec = RowCodec(record_of({**dict.fromkeys(self._bits, LONG), **names}), name="Kept")

    def encode(self, rows: pl.DataFrame) -> list[bytes]:
        """A value for each row. Columns that no value has room for are left out, such as those of a step."""
        there = [name in rows.columns for name in self._reserved]
        has = [sum(1 << i for i, yes in enumerate(there[at : at + 32]) if yes) for at in range(0, len(there), 32)]
        columns: list[pl.Expr] = [
            pl.lit(bits, dtype=pl.Int64).alias(n) for n, bits in zip(self._bits, has, strict=True)
        ]
        for i, (name, of) in enumerate(self._fields.items()):
            value = pl.col(name) if name in rows.columns else pl.lit(None, dtype=_dtype(name, of))
            columns.append(value.alias(f"c{i}"))
        return self._codec.encode(
            rows.with_columns(columns).select([*self._bits, *(f"c{i}" for i in range(len(self._fields)))])
        )

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """The rows of these values, in order; a reserved column is there if any of them has it."""
        found = self._codec.decode(values)
        kept = np.array([np.bitwise_or.reduce(found[b].to_numpy(), initial=0) for b in self._bits], np.int64)
        lost = {n for i, n in enumerate(self._reserved) if not kept[i // 32] >> (i % 32) & 1}
        return found.select(
            pl.col(f"c{i}").cast(_dtype(name, of)).alias(name)
            for i, (name, of) in enumerate(self._fields.items())
            if name not in lost
        )


def _plain(schema: Schema) -> Type:
    return schema if schema.kind in ("any", "bytes") else BYTES


def _dtype(name: str, of: Type) -> pl.DataType:
    return HEADERS_DTYPE if name == HEADERS else polars_dtype(of)
