"""A changelog as a table: the latest row of each key, and what each change made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streamflow.model.batch import TS, Batch
from streamflow.operators.errors import join_failed
from streamflow.operators.table_rows import (
    NOTHING,
    Changes,
    Indices,
    Int64s,
    PortKey,
    TableState,
    Versions,
    child_rows,
    gather,
)
from streamflow.sdk.operator import Context, Result, StepTimes

STORE = "rows"
UPSERTS, DELETIONS = "in", "gone"


@dataclass(slots=True)
class TableOperator:
    """Gives for each change the row that is there no more by `gone`, and the new one by `out`."""

    keys: Mapping[str, PortKey]  # `gone` before `in`
    state: TableState

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes, versions = self._change(inputs, ctx)
        before, after = versions.before != NOTHING, versions.after != NOTHING
        filtered = sum(changes.without_key.values()) + int((~before & ~after).sum())
        outputs = self._given(changes, versions, np.flatnonzero(before), np.flatnonzero(after), versions.before)
        return Result(outputs=outputs, failed=join_failed(changes.failures), filtered=filtered)

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The row of each key."""
        return self.state.shown(stores[STORE])

    def _change(self, inputs: Mapping[str, Batch], ctx: Context) -> tuple[Changes, Versions]:
        changes, store = gather(inputs, self.keys), ctx.store(STORE)
        versions = self.state.versions(changes, store, upserts=UPSERTS, deletions=DELETIONS)
        self.state.keep(changes, versions, store)
        return changes, versions

    def _given(
        self,
        changes: Changes,
        versions: Versions,
        gone: Indices,
        new: Indices,
        replaced: Int64s,
    ) -> dict[str, Batch]:
        """Rows by port. `gone` and `new`: changes that give such a row; `replaced`: version that is gone, by change."""
        times = changes.frame[TS]
        found: dict[str, Batch] = {}
        for nth, (port, at, which) in enumerate(((DELETIONS, gone, replaced), ("out", new, versions.after))):
            if len(at):
                rows = child_rows(changes.frame, at, nth=nth, ts=times.gather(at))
                found[port] = Batch(rows.with_columns(versions.take(which[at])), self.state.schema)
        return found


@dataclass(slots=True)
class CoalescedTableOperator(TableOperator):
    """Gives once a step what its changes made of each key."""

    holds_ms: int = field(init=False, default=0)
    _given_ports: dict[str, Batch] = field(init=False, default_factory=dict)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes, versions = self._change(inputs, ctx)
        changed = np.zeros(len(changes.names), np.int64)
        changed[changes.group] = np.arange(len(changes.group))  # the last change of each key
        order = np.sort(changed)
        replaced = versions.initial[changes.group]
        touched = (replaced[order] != NOTHING) | (versions.after[order] != NOTHING)
        order = order[touched & (replaced[order] != versions.after[order])]
        gone, new = order[replaced[order] != NOTHING], order[versions.after[order] != NOTHING]
        self._given_ports = self._given(changes, versions, gone, new, replaced)
        filtered = sum(changes.without_key.values())
        return Result(failed=join_failed(changes.failures), filtered=filtered, absorbed=len(changes.group))

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """What changed in this step; `times` plays no part."""
        given, self._given_ports = self._given_ports, {}
        return Result(outputs=given, emitted=sum(len(b) for b in given.values()))
