"""Counting rows across steps: which of them lie in a range, per execution or per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import EXECUTION, Batch
from streamflow.operators.execution_rows import NOTHING_KEPT
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

_WHOLE = ""  # the one set when the whole stream is counted


@dataclass(frozen=True, slots=True)
class LimitOperator:
    """Passes rows `offset` to `offset + count` of each set; the store `counts` remembers how many were seen."""

    count: int
    offset: int
    scope: str  # execution | stream
    bounded: bool  # executions span steps

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        frame = batch.frame
        name = EXECUTION if self.scope == "execution" else None
        sets = frame[name] if name else pl.Series("@set", [_WHOLE], dtype=pl.String).new_from_index(0, len(batch))
        counted = sets.alias("@set").to_frame().with_columns(pl.int_range(pl.len()).over("@set").alias("@n"))
        if self.scope == "stream" or self.bounded:
            counted = count_on(counted, ctx.store("counts"))
        passed = counted.select(
            pl.col("@n").is_between(self.offset, self.offset + self.count, closed="left")
        ).to_series()
        kept = int(passed.sum())
        outputs = {"out": batch if kept == len(batch) else batch.where(passed)} if kept else {}
        return Result(outputs=outputs, filtered=len(batch) - kept)

    def end(self, execution: str, ctx: Context) -> Result:
        if self.scope == "execution" and self.bounded:
            ctx.store("counts").delete(execution.encode())
        return Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        counts = [int.from_bytes(value, "big") for _, value in stores["counts"]]
        seen = pl.Series("seen", counts, dtype=pl.Int64)
        of = pl.Series(EXECUTION, [name.decode() for name, _ in stores["counts"]], dtype=pl.String)
        return pl.concat([NOTHING_KEPT, pl.DataFrame([of, seen])], how="diagonal")


def count_on(counted: pl.DataFrame, store: StateStore) -> pl.DataFrame:
    """Numbers `@n` of rows in their sets `@set`, going on where earlier steps left them; the store remembers."""
    here = counted.group_by("@set", maintain_order=True).len("@here")
    keys = [s.encode() for s in here["@set"].to_list()]
    before = [int.from_bytes(v or b"\0", "big") for v in store.get_many(keys)]
    after = [b + n for b, n in zip(before, here["@here"].to_list(), strict=True)]
    store.put_many(keys, [n.to_bytes(8, "big") for n in after])
    start = here.select("@set", pl.Series("@before", before, dtype=pl.Int64))
    joined = counted.join(start, on="@set", how="left", maintain_order="left")
    return joined.with_columns(pl.col("@n").cast(pl.Int64) + pl.col("@before"))
