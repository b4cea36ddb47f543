"""Retries in place: failed rows are tried again at once, and everything behind them waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamflow.model.batch import Batch
from streamflow.operators.errors import join_failed
from streamflow.runtime.error_items import without_error
from streamflow.runtime.graph import merge_wires
from streamflow.runtime.retry_rule import RetryRule
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class Retrying:
    """Stands around an operator without state. `pause`: waits so many seconds; in a replay it does not.

    Rows that fail together wait together, each at least as long as its policy says. Which are tried again, and how
    often, depends on each row alone.
    """

    inner: Operator
    rule: RetryRule
    pause: Callable[[float], None]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        ((port, _),) = inputs.items()
        result = self.inner.process(inputs, ctx)
        if result.failed is None or not len(result.failed):
            return result
        done, given_up = [result], []
        failed: Batch | None = result.failed
        for tries in range(1, self.rule.policy.attempts + 1):
            if failed is None or not len(failed):
                break
            failed = self.rule.tried(failed, tries)
            again = self.rule.again(failed, ctx)
            given_up.append(failed.where(~again))
            failed = failed.where(again)
            if not len(failed):
                break
            self.pause(int(self.rule.waits_ms(failed, ctx).max()) / 1000)
            done.append(self.inner.process({port: without_error(failed)}, ctx))
            failed = done[-1].failed
        return together(done, join_failed([rows for rows in given_up if len(rows)]))


def together(parts: list[Result], failed: Batch | None) -> Result:
    """Results of several tries as one, rows in the order of arrival."""
    outputs: dict[str, list[tuple[int, Batch]]] = {}
    for part in parts:
        for port, rows in part.outputs.items():
            if len(rows):
                outputs.setdefault(port, []).append((len(outputs.get(port, ())), rows))
    return Result(
        outputs={port: merge_wires(rows, rows[0][1].schema) for port, rows in outputs.items()},
        failed=failed,
        filtered=sum(part.filtered for part in parts),
        absorbed=sum(part.absorbed for part in parts),
        emitted=sum(part.emitted for part in parts),
        waiting=join_failed([part.waiting for part in parts]),
        woken=join_failed([part.woken for part in parts]),
        told=join_failed([part.told for part in parts]),
    )
