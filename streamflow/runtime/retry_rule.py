"""Which failed rows are tried again, and how long each waits: by policy, row, and chance that a replay repeats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.expressions import compile_projection
from streamflow.model.batch import ERROR_ATTEMPT, ERROR_NODE, EXECUTION, PATH, Batch
from streamflow.model.policies import LONGEST_MS, RetryPolicy
from streamflow.model.types import BOOL, Schema
from streamflow.operators.errors import failed_mask
from streamflow.operators.masks import condition
from streamflow.runtime.error_items import tried_items
from streamflow.sdk.errors import UsageError
from streamflow.sdk.expression import Expression, Projection, Scope
from streamflow.sdk.operator import Context
from streamflow.topology.envelopes import error_schema

_WHEN = "when"
Int64s = npt.NDArray[np.int64]


class RetryRule:
    """The retries of one node whose items are of `schema`."""

    def __init__(self, node: str, policy: RetryPolicy, schema: Schema, vars: Mapping[str, object]) -> None:
        self.policy, self._node = policy, node
        self._plain = np.array(policy.waits_ms(), np.int64)
        self._when: Projection | None = None
        if not policy.when:
            return
        scope = Scope(item=error_schema(schema, attempts=True), vars=vars)
        expressions = {_WHEN: Expression(policy.when)}
        self._when, findings = compile_projection(expressions, scope, expect={_WHEN: BOOL.optional()})
        if self._when is None:
            raise UsageError(
                f"node {node!r}: the plan holds a condition of retries that does not compile: {findings[0]}",
                mend="Compile the workflow again with this version.",
            )

    def tried(self, failed: Batch, attempts: int | pl.Series) -> Batch:
        """Failed rows with how often each has been tried."""
        known = pl.lit(attempts, pl.Int32) if isinstance(attempts, int) else attempts.cast(pl.Int32)
        named = pl.lit(self._node).alias(ERROR_NODE)
        return failed.with_frame(failed.frame.with_columns(known.alias(ERROR_ATTEMPT), named))

    def again(self, failed: Batch, ctx: Context) -> pl.Series:
        """True for rows that are to be tried once more, of rows as `tried` gives them. A failing condition is false."""
        policy, frame = self.policy, failed.frame
        mask = frame[ERROR_ATTEMPT] < policy.attempts
        if policy.codes:
            mask &= frame["@error_code"].is_in(list(policy.codes))
        if self._when is not None and mask.any():
            done = self._when.run(tried_items(failed))
            mask &= condition(done.values[_WHEN])
            if done.errors:
                mask &= ~failed_mask(done.errors)
        if policy.limit_ms is not None and mask.any():
            waits = self._waits(failed, ctx)
            upto = np.arange(waits.shape[1])[None, :] < frame[ERROR_ATTEMPT].to_numpy()[:, None]
            mask &= pl.Series((waits * upto).sum(axis=1) <= policy.limit_ms)
        return mask

    def waits_ms(self, failed: Batch, ctx: Context) -> Int64s:
        """How long each of these rows waits now, of those that are `again`."""
        waits = self._waits(failed, ctx)
        chosen: Int64s = waits[np.arange(len(failed)), failed.frame[ERROR_ATTEMPT].to_numpy() - 1]
        return chosen

    def _waits(self, failed: Batch, ctx: Context) -> Int64s:
        """All waits of each row, [rows, attempts - 1], ms."""
        policy, rows = self.policy, len(failed)
        plain = np.broadcast_to(self._plain, (rows, len(self._plain)))
        if not policy.draws:
            return plain
        drawn = np.stack([self._drawn(execution, path, ctx) for execution, path in self._names(failed)])
        most = LONGEST_MS if policy.delay_max_ms is None else policy.delay_max_ms
        waits = plain.astype(np.float64)
        if policy.backoff == "random":
            waits = policy.delay_ms + (most - policy.delay_ms) * drawn[:, :, 0]
        waits = waits * (1 + policy.jitter * (2 * drawn[:, :, 1] - 1))
        made: Int64s = np.minimum(np.rint(waits), most).astype(np.int64)
        return made

    def _drawn(self, execution: str, path: bytes, ctx: Context) -> npt.NDArray[np.float64]:
        return ctx.random(execution, path + b"@retry").random((len(self._plain), 2))

    @staticmethod
    def _names(failed: Batch) -> list[tuple[str, bytes]]:
        frame = failed.frame
        paths = frame[PATH].fill_null(b"").to_list() if PATH in frame.columns else [b""] * frame.height
        return list(zip(frame[EXECUTION].fill_null("").to_list(), paths, strict=True))
