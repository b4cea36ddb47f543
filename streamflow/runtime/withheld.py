"""What an operator made of rows, by the row: so that what it made of some can be taken back.

Operators take whole batches. Where what becomes of a row depends on whether one before it failed, the batch goes
through as if none did, and what came of rows that should not have been tried yet is left out. They are tried again
later: so a function may see an item more than once, as it may after any restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import Batch
from streamflow.runtime.graph import AccountingError
from streamflow.sdk.operator import Context, Operator, Result

ORIGIN = "@origin"
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tried:
    """Outputs and failed rows of `count` rows, each with the number of the row that it came from."""

    count: int
    outputs: Mapping[str, Batch]
    failed: Batch | None

    @property
    def failed_at(self) -> Int64s:
        """Numbers of the rows that failed, as they stand in `failed`."""
        if self.failed is None:
            return np.empty(0, np.int64)
        return self.failed.frame[ORIGIN].to_numpy().astype(np.int64)

    def keeping(self, keep: Bools, failed: Batch | None) -> Result:
        """What came of the rows that are kept; `failed`: those of them that failed. `filtered` counts rows without a
        child.
        """
        outputs: dict[str, Batch] = {}
        fate = ~keep
        for port, rows in self.outputs.items():
            origin = rows.frame[ORIGIN].to_numpy()
            fate[origin] = True
            mask = pl.Series(keep[origin])
            kept = rows if mask.all() else rows.where(mask)
            if len(kept):
                outputs[port] = _without_origin(kept)
        if failed is not None and len(failed):
            fate[failed.frame[ORIGIN].to_numpy()] = True
            failed = _without_origin(failed)
        return Result(outputs=outputs, failed=failed, filtered=int((~fate).sum()))


def attempt(node: str, inner: Operator, port: str, batch: Batch, ctx: Context) -> Tried:
    """Let an operator without state take rows. Raises AccountingError where it loses their reserved columns."""
    numbers = pl.int_range(len(batch), dtype=pl.UInt32, eager=True).alias(ORIGIN)
    numbered = Batch(batch.frame.with_columns(numbers), batch.schema, batch.parsed)
    result = inner.process({port: numbered}, ctx)
    for rows in (*result.outputs.values(), *(() if result.failed is None else (result.failed,))):
        if ORIGIN not in rows.frame.columns:
            raise AccountingError(
                f"node {node!r}: its operator drops reserved columns, so nobody can say which row came of which.",
                mend="This is a defect of the node; until it is mended, remove `mode: park` or the breaker from it.",
            )
    return Tried(len(batch), result.outputs, result.failed)


def _without_origin(rows: Batch) -> Batch:
    return Batch(rows.frame.drop(ORIGIN), rows.schema, rows.parsed)
