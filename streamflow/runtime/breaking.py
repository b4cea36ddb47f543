"""The circuit breaker of a node: while it fails too often, rows go to its fallback without being tried.

closed ──`failures` within `within`──▶ open ──`probe_after` is over──▶ half open
  ▲                                      ▲                                │
  └──────────── the probe did not fail ──┼────────────────────────────────┤
                                         └──────── the probe failed ──────┘

State: one entry of the task, with the times of the failures that count and until when it is open. Rows count in their
order and time is the clock of the step, so how a stream is cut shows only where the clock went on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, Batch
from streamflow.model.policies import BreakerPolicy
from streamflow.operators.errors import fail, join_failed
from streamflow.runtime.retrying import together
from streamflow.runtime.withheld import ORIGIN, attempt
from streamflow.sdk.operator import Context, Operator, Result
from streamflow.topology.failures import BREAKER

OPEN, OPENED, CLOSED = "circuit_open", "circuit_opened", "circuit_closed"
_NAME = b"state"


@dataclass(slots=True)
class _State:
    """`open_until_ms`: 0 while it is closed. `failures_ms`: of those that count, oldest first."""

    open_until_ms: int
    failures_ms: list[int]

    @classmethod
    def read(cls, value: bytes | None) -> _State:
        if value is None:
            return cls(0, [])
        times = [int.from_bytes(value[at : at + 8], "big", signed=True) for at in range(0, len(value), 8)]
        return cls(times[0], times[1:])

    def encoded(self) -> bytes:
        return b"".join(ms.to_bytes(8, "big", signed=True) for ms in (self.open_until_ms, *self.failures_ms))


@dataclass(frozen=True, slots=True)
class Breaking:
    """Stands around an operator without state."""

    inner: Operator
    policy: BreakerPolicy
    node: str

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        ((port, batch),) = inputs.items()
        store, now_ms = ctx.store(BREAKER), ctx.now_ms
        before = store.get(_NAME)
        state = _State.read(before)
        parts: list[Result] = []
        while len(batch):
            if state.open_until_ms > now_ms:
                parts.append(Result(failed=self._refused(batch)))
                break
            probing = state.open_until_ms > 0
            rows = batch.where(_first(len(batch), 1)) if probing else batch
            result, taken = self._taken(port, rows, state, ctx, probing=probing)
            parts.append(result)
            batch = batch.where(~_first(len(batch), taken))
        after = state.encoded()
        if after != before and (before is not None or state.open_until_ms or state.failures_ms):
            store.put(_NAME, after)
        return together(parts, join_failed([part.failed for part in parts]))

    def _taken(self, port: str, rows: Batch, state: _State, ctx: Context, *, probing: bool) -> tuple[Result, int]:
        """Rows up to the one that opens the circuit, and how many they are."""
        policy, now_ms = self.policy, ctx.now_ms
        tried = attempt(self.node, self.inner, port, rows, ctx)
        failed_at = np.sort(tried.failed_at)
        told = None
        if probing and not len(failed_at):
            state.open_until_ms, state.failures_ms = 0, []
            told = fail(rows, CLOSED, "the circuit is closed again: the item that was tried did not fail.")
        state.failures_ms = [ms for ms in state.failures_ms if ms > now_ms - policy.within_ms]
        needed = 1 if probing else policy.failures - len(state.failures_ms)
        taken = len(rows)
        if len(failed_at) >= needed:
            taken = int(failed_at[needed - 1]) + 1
            state.open_until_ms, state.failures_ms = now_ms + policy.probe_after_ms, []
            told = self._opened(tried.failed, taken - 1, probing=probing)
        else:
            state.failures_ms += [now_ms] * len(failed_at)
        keep = np.arange(len(rows)) < taken
        failed = tried.failed
        if failed is not None:
            failed = failed.where(failed.frame[ORIGIN] < taken)
        result = tried.keeping(keep, failed)
        result.told = told
        return result, taken

    def _opened(self, failed: Batch | None, row: int, *, probing: bool) -> Batch:
        """The row that opened the circuit."""
        assert failed is not None, "a row failed"
        one, policy = failed.where(failed.frame[ORIGIN] == row), self.policy
        why = (
            "the item that was tried failed" if probing else f"{policy.failures} failures within {policy.within_ms} ms"
        )
        told = pl.lit(f"the circuit is open for {policy.probe_after_ms} ms: {why}, the last: ")
        told += pl.col(ERROR_CODE) + ": " + pl.col(ERROR_MESSAGE)
        columns = (pl.lit(OPENED).alias(ERROR_CODE), told.alias(ERROR_MESSAGE))
        return one.with_frame(one.frame.drop(ORIGIN).with_columns(columns))

    def _refused(self, batch: Batch) -> Batch:
        message = f"not tried: the node failed {self.policy.failures} times within {self.policy.within_ms} ms."
        return fail(batch, OPEN, message)


def _first(count: int, first: int) -> pl.Series:
    return pl.Series(np.arange(count) < first)
