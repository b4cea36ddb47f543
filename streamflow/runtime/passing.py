"""Failed rows that pass on: as they came in, or with values in the place of what their node would have made."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Schema, polars_dtype
from streamflow.operators.typed_json import typed_items, untyped_items
from streamflow.runtime.error_items import without_error
from streamflow.sdk.errors import UsageError


class Passing:
    """What failed items of one node pass on as. `schema`: of the port; `value`: given fields, None: none are."""

    def __init__(self, node: str, schema: Schema, value: Mapping[str, object] | None) -> None:
        self._schema, self._value = schema, value
        self._given: Mapping[str, object] = value or {}
        self._typed = pl.DataFrame()
        if value is None or schema.kind != "record":
            return
        given = Schema(kind="record", fields=tuple(f for f in schema.fields if f.name in value))
        text = pl.Series([orjson.dumps(dict(value))], dtype=pl.Binary)
        self._typed, wrong = typed_items(text, given)
        if wrong:
            raise UsageError(
                f"node {node!r}: the plan holds a fallback that does not fit: {wrong[0][1]}",
                mend="Compile the workflow again with this version.",
            )

    def rows(self, failed: Batch) -> Batch:
        """Rows of the port, in order. Each keeps its reserved columns."""
        rows = without_error(failed)
        if self._value is None:
            return rows
        if self._schema.kind != "record":
            texts = [orjson.dumps(self._merged(text)) for text in untyped_items(rows).to_list()]
            frame = rows.frame.select(rows.reserved_columns())
            return Batch(frame.with_columns(pl.Series(PAYLOAD, texts, dtype=pl.Binary)), self._schema)
        columns: list[pl.Expr | pl.Series] = [pl.col(c) for c in rows.reserved_columns()]
        for field in self._schema.fields:
            dtype = polars_dtype(field.type)
            mine = rows.schema.field(field.name) if rows.schema.kind == "record" else None
            if field.name in self._given:
                columns.append(self._typed[field.name].new_from_index(0, len(rows)))
            elif mine is not None and mine.type in (field.type, field.type.required()):
                columns.append(pl.col(field.name).cast(dtype))
            else:
                columns.append(self._default(field.name, dtype, len(rows)))
        return Batch(rows.frame.select(columns), self._schema)

    def _merged(self, text: bytes | None) -> object:
        item = None if text is None else orjson.loads(text)
        return {**item, **self._given} if isinstance(item, dict) else dict(self._given)

    def _default(self, name: str, dtype: pl.DataType, rows: int) -> pl.Series:
        """A field that neither has: null where it may be, else its default."""
        field = self._schema.field(name)
        assert field is not None, name
        if field.type.nullable:
            return pl.repeat(None, rows, dtype=dtype, eager=True).alias(name)
        of = Schema(kind="record", fields=(field,))
        text = pl.Series([orjson.dumps({name: field.default})], dtype=pl.Binary)
        return typed_items(text, of)[0][name].new_from_index(0, rows)
