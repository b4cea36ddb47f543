"""Rows of a stream, each with the row that a table has for its key when it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import join_failed
from streamflow.operators.table_rows import NOTHING, PortKey, TableState, gather
from streamflow.sdk.operator import Context, Result

STORE = "rows"


@dataclass(slots=True)
class LookupOperator:
    """`fields`: field of the table -> field of the result. `left`: rows without a partner stay, with nulls."""

    keys: Mapping[str, PortKey]  # ports `gone`, `table`, `in`: at one place the table changes first
    state: TableState
    fields: Mapping[str, str]
    schema: Schema
    left: bool

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes, store = gather(inputs, self.keys), ctx.store(STORE)
        versions = self.state.versions(changes, store, upserts="table", deletions="gone")
        self.state.keep(changes, versions, store)
        without_key = sum(count for port, count in changes.without_key.items() if port != "in")
        asked = changes.of("in")
        failed, absorbed = join_failed(changes.failures), len(asked) - int(asked.sum())
        stream = changes.batches.get("in")
        if stream is None:
            return Result(failed=failed, filtered=without_key, absorbed=absorbed)
        found = np.full(len(stream), NOTHING, np.int64)
        found[changes.at[asked]] = versions.after[asked]
        filtered = without_key
        if not self.left:
            partner = found != NOTHING
            filtered += len(stream) - int(partner.sum())
            stream, found = stream.where(pl.Series(partner)), found[partner]
        rows = stream.frame.with_columns(versions.take(found, self.fields))
        return Result(
            outputs={"out": Batch(rows, self.schema)} if len(stream) else {},
            failed=failed,
            filtered=filtered,
            absorbed=absorbed,
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The row of each key."""
        return self.state.shown(stores[STORE])
