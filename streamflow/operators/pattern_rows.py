"""Rows made of matches: a field for each step, with the item that matched it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from streamflow.model.batch import (
    EXECUTION,
    HEADERS,
    HEADERS_DTYPE,
    KEY,
    ROW,
    TS,
    WM,
    Batch,
)
from streamflow.model.types import PAYLOAD, Schema, polars_dtype
from streamflow.operators.window_rows import begun, numbered, timed_path
from streamflow.sdk.operator import Context, StepTimes
from streamflow.sdk.state import StateStore

KEY_COLUMN = "@:key"  # of rows that matched: the key's value
_NUMBER = b"n#"


class Match(NamedTuple):
    """A match that is over. `due`: the watermark that ends it; `ts`: its event time; `rows`: of its first steps."""

    due: int
    group: int
    rows: tuple[int, ...]
    ts: int
    whole: bool


@dataclass(frozen=True, slots=True)
class PatternRows:
    """`steps`: names of the fields. `whole`, `part`: schemas of complete matches and of those that time ran out for."""

    key_field: str
    steps: Sequence[str]
    source: Schema
    whole: Schema
    part: Schema

    def made(
        self,
        over: Sequence[Match],
        rows: pl.DataFrame,
        names: Sequence[bytes],
        times: StepTimes,
        store: StateStore,
        ctx: Context,
    ) -> dict[str, Batch]:
        """Matches in order of `due`, by port. `rows`: what they are made of; `names`: keys by group.

        A match begins an execution of its own, as a window does; it is numbered among those of the task.
        """
        due = np.array([m.due for m in over], np.int64)
        key = pl.Series(KEY, [names[m.group] for m in over], dtype=pl.Binary)
        number = numbered(store, _NUMBER, len(over))
        item = pl.struct(f.name for f in self.source.fields) if self.source.kind == "record" else pl.col(PAYLOAD)
        items = rows.select(item.alias("item")).to_series()
        first = pl.Series([m.rows[0] for m in over], dtype=pl.UInt32)
        fields = [rows[KEY_COLUMN].gather(first).alias(self.key_field)]
        for step, name in enumerate(self.steps):
            at = pl.Series([m.rows[step] if step < len(m.rows) else None for m in over], dtype=pl.UInt32)
            fields.append(items.gather(at).alias(name))
        text = key.cast(pl.String, strict=False).fill_null("")
        frame = pl.DataFrame(fields).with_columns(
            pl.Series(ROW, times.crossing(due), dtype=pl.UInt32),
            key,
            pl.Series(TS, [m.ts for m in over], dtype=pl.Int64),
            pl.Series(WM, due - 1, dtype=pl.Int64),
            pl.concat_str(pl.lit(f"{ctx.node}#"), pl.lit(text), pl.lit("."), pl.lit(number.cast(pl.String))).alias(
                EXECUTION
            ),
            pl.lit(pl.Series([[]], dtype=HEADERS_DTYPE)).first().alias(HEADERS),
            *begun(number, timed_path(due), ctx),
        )
        whole = pl.Series([m.whole for m in over], dtype=pl.Boolean)
        ports = (("out", whole, self.whole), ("timeout", ~whole, self.part))
        return {port: Batch(_typed(frame.filter(mask), schema), schema) for port, mask, schema in ports if mask.any()}


def _typed(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return frame.with_columns(pl.col(f.name).cast(polars_dtype(f.type)) for f in schema.fields)
