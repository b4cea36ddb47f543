"""The result of a join by foreign key, a row a left key, put in order.

Messages of one left key come from the partitions of all foreign keys that it had, each in its order, together in any.
Each tells the number of the left row's version that it is about. A row is taken if its version is not older than that
of the row that is there; a deletion counts if it is about the version that is there. So what an old version still had
to say when a newer one spoke is left aside, and in the end the newest version stands, whichever partition was faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.batch import TS, Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import join_failed
from streamflow.operators.foreign_rows import DELETED, VERSION
from streamflow.operators.table_rows import NOTHING, Bools, Changes, Int64s, Kept, PortKey, TableState, child_rows
from streamflow.operators.table_rows import gather as gathered
from streamflow.sdk.operator import Context, Result

STORE = "result"


@dataclass(slots=True)
class ForeignResultOperator:
    """Gives what a table of the newest results gives: old rows by `gone`, new ones by `out`."""

    key: PortKey
    state: TableState  # of joined rows with `__version`
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes, store = gathered(inputs, {"in": self.key}), ctx.store(STORE)
        rows, at = changes.batches["in"], changes.at
        kept = self.state.kept(changes.names, store)
        version = rows.frame[VERSION].to_numpy()[at]
        deletes = rows.frame[DELETED].to_numpy()[at]
        counts = current(changes, kept, version, deletes)
        versions = self.state.over(changes, kept, rows, counts & ~deletes, counts)
        self.state.keep(changes, versions, store)
        names = {f.name: f.name for f in self.schema.fields}
        outputs: dict[str, Batch] = {}
        sides = (("gone", versions.before, versions.before), ("out", versions.after, versions.after))
        for nth, (port, there, of) in enumerate(sides):
            where = np.flatnonzero(counts & (there != NOTHING))
            if len(where):
                made = child_rows(changes.frame, where, nth=nth, ts=changes.frame[TS].gather(where))
                outputs[port] = Batch(made.with_columns(versions.take(of[where], names)), self.schema)
        return Result(
            outputs=outputs,
            failed=join_failed(changes.failures),
            filtered=sum(changes.without_key.values()) + int((~counts).sum()),
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The row of each key."""
        return self.state.shown(stores[STORE])


def current(changes: Changes, kept: Kept, version: Int64s, deletes: Bools) -> Bools:
    """Which messages count. The n-th messages of all keys are looked at together."""
    there = np.full(len(changes.names), NOTHING, np.int64)  # version of each key's row
    there[kept.groups] = kept.rows[VERSION].to_numpy()
    nth = pl.DataFrame({"g": changes.group}).select(pl.int_range(pl.len()).over("g")).to_series().to_numpy()
    order = np.argsort(nth, kind="stable")
    counts = np.zeros(len(version), np.bool_)
    for layer in np.split(order, np.flatnonzero(np.diff(nth[order])) + 1):
        known, told, gone = there[changes.group[layer]], version[layer], deletes[layer]
        fits = np.where(gone, told == known, told >= known)
        counts[layer] = fits
        there[changes.group[layer]] = np.where(fits, np.where(gone, NOTHING, told), known)
    return counts
