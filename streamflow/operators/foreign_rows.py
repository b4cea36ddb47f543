"""The left rows of a join by foreign key, each sent to where the right row is that it names.

A change becomes messages: the row is there (with its new foreign key), and it is there no more (with the old one).
Every version of a row has a number, which never comes again for its key: by it the result is put in order (see
`foreign_result.py`), since messages of one row may pass through two partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.batch import PATH, ROW, TS, Batch
from streamflow.model.types import BOOL, BYTES, LONG, Schema, Type, record_of
from streamflow.operators.errors import join_failed
from streamflow.operators.table_rows import NAME, NOTHING, Changes, Int64s, PortKey, TableState, child_rows, gather
from streamflow.sdk.operator import Context, Result

FOREIGN, KEPT_KEY, VERSION, DELETED = "__fk", "__key", "__version", "__gone"
MESSAGE: Mapping[str, Type] = {FOREIGN: BYTES.optional(), KEPT_KEY: BYTES, VERSION: LONG, DELETED: BOOL}
STORE, NUMBERS = "rows", "numbers"
_COUNT = b"changes"


def with_fields(schema: Schema, more: Mapping[str, Type]) -> Schema:
    """A record with more fields behind its own."""
    return record_of({**{f.name: f.type for f in schema.fields}, **more})


@dataclass(slots=True)
class ForeignRowsOperator:
    """`keys`: ports `left_gone` and `left`. `foreign`: the foreign key of left rows. `inner`: rows without are kept,
    and no message tells of them.
    """

    keys: Mapping[str, PortKey]
    foreign: PortKey
    state: TableState  # of left rows with `__fk` and `__version`
    schema: Schema  # of messages
    inner: bool

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        failed: Batch | None = None
        given = dict(inputs)
        if "left" in inputs:
            batch, named, failed = self.foreign.names(inputs["left"])
            given["left"] = batch.with_frame(batch.frame.with_columns(named.alias(FOREIGN)))
        changes, store = gather(given, self.keys), ctx.store(STORE)
        left = changes.of("left")
        if "left" in changes.batches:
            numbers = self._numbers(changes, ctx)
            of_rows = np.zeros(len(changes.batches["left"]), np.int64)
            of_rows[changes.at[left]] = numbers[left]
            rows = changes.batches["left"]
            changes.batches["left"] = rows.with_frame(rows.frame.with_columns(pl.Series(VERSION, of_rows)))
        else:
            self._numbers(changes, ctx)
        versions = self.state.versions(changes, store, upserts="left", deletions="left_gone")
        self.state.keep(changes, versions, store)
        before, after = versions.before, versions.after
        old, new = versions.take(before, {FOREIGN: FOREIGN})[0], versions.take(after, {FOREIGN: FOREIGN})[0]
        stays = (before != NOTHING) & (after != NOTHING) & old.eq_missing(new).to_numpy()
        ends, begins = (before != NOTHING) & ~stays, after != NOTHING
        if self.inner:
            ends, begins = ends & old.is_not_null().to_numpy(), begins & new.is_not_null().to_numpy()
        messages = []
        for nth, (there, of) in enumerate(((ends, before), (begins, after))):
            at = np.flatnonzero(there)
            rows_of = child_rows(changes.frame, at, nth=nth, ts=changes.frame[TS].gather(at))
            told = [
                changes.frame[NAME].gather(at).alias(KEPT_KEY),
                pl.repeat(nth == 0, len(at), dtype=pl.Boolean, eager=True).alias(DELETED),
            ]
            messages.append(rows_of.with_columns(*versions.take(of[at]), *told))
        by = [c for c in (ROW, PATH) if c in messages[0].columns]
        frame = pl.concat(messages).sort(by, maintain_order=True)
        nothing = (before == NOTHING) & (after == NOTHING)
        return Result(
            outputs={"out": Batch(frame, self.schema)} if frame.height else {},
            failed=join_failed([failed, *changes.failures]),
            filtered=sum(changes.without_key.values()) + int(nothing.sum()),
            absorbed=int((~nothing & ~ends & ~begins).sum()),
        )

    def _numbers(self, changes: Changes, ctx: Context) -> Int64s:
        """The number of each change: how many the task has had."""
        store = ctx.store(NUMBERS)
        first = int.from_bytes(store.get(_COUNT) or b"\0", "big")
        numbers: Int64s = np.arange(first + 1, first + 1 + len(changes.group), dtype=np.int64)
        if len(numbers):
            store.put(_COUNT, int(numbers[-1]).to_bytes(8, "big"))
        return numbers
