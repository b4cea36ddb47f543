"""What becomes of rows of executions whose time-out was over before they were complete (see `operators.gathering`)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.errors import fail
from streamflow.operators.gathering import LATE, STANDING


@dataclass(frozen=True, slots=True)
class Waiting:
    """`over`: the port for what is made of executions that were not complete by then. `late`: schema of what comes
    later, `{left, right}`; None: it fails.
    """

    over: str = "out"
    late: Schema | None = None

    def split(self, port: str, batch: Batch) -> tuple[Batch, Batch | None]:
        """(rows to be combined, late ones)."""
        if STANDING not in batch.frame.columns:
            return batch, None
        late = batch.frame[STANDING] == LATE
        return (batch, None) if not late.any() else (batch.where(~late), batch.where(late))

    def lately(self, port: str, rows: Batch) -> tuple[pl.DataFrame | None, Batch | None]:
        """Late rows of a port: (those that go on, those that fail)."""
        frame = rows.frame.drop(STANDING)
        if self.late is None:
            message = f"{port}: it came when the time-out of its execution was over."
            return None, fail(Batch(frame, rows.schema), "too_late", message)
        item = pl.col(PAYLOAD) if rows.schema.kind != "record" else pl.struct(f.name for f in rows.schema.fields)
        nothing = {n: pl.lit(None, dtype=t) for n, t in frame_schema(self.late).items() if n != port}
        reserved = [pl.col(c) for c in rows.reserved_columns() if c != STANDING]
        return frame.select([*reserved, item.alias(port), *(e.alias(n) for n, e in nothing.items())]), None
