"""What becomes of each execution in a step of a task: noted while its rows go through the graph, counted behind it.

While the graph runs, only references to columns are kept: whose a row is (`@row`, where the row that entered the stage
tells the execution of all that comes of it; else `@execution`), and what operators said of all their rows together.
Behind the step `execution_counts` counts rows by execution, and `execution_records` writes that down. Where only
executions with a failure leave records, a step without one costs nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from streamflow.model.again import AGAIN_NODE, UNDONE
from streamflow.model.batch import ERROR_NODE, EXECUTION, HEADERS, PATH, ROW, Batch
from streamflow.runtime.execution_counts import Counting, Counts, Fate, Ids, Noted, Ran, Who
from streamflow.runtime.execution_meta import contexts
from streamflow.runtime.execution_samples import sampled
from streamflow.sdk.operator import EndsExecutions, Operator, Result, Timed, Waits
from streamflow.topology.plan import NodePlan, StagePlan


class Watch:
    """Notes what the graph of a task does in a step, and counts it by execution."""

    def __init__(
        self, stage: StagePlan, operators: Mapping[str, Operator], triggers: frozenset[str],
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`triggers`: those of the stage's inputs at which executions begin. `headers`: which of them tell user,
        session and trace, where records of executions are to have those.
        """
        self._headers = headers or {}
        self._errors_only, self._samples, self._redact = stage.tracked == "errors", stage.samples, stage.redact
        self._of_rows = not stage.stores and not any(isinstance(o, Timed) for o in operators.values())
        self.triggers = triggers
        self._topics = {i.node: i.topic for i in stage.inputs if i.node not in triggers and not i.aside}
        self._aside = frozenset(i.node for i in stage.inputs if i.aside)
        self._sinks = {s.wire.node: s.topic for s in stage.sinks if s.kind == "repartition"}
        self.own = self._of_rows and not self._topics and all(i.extent == "item" for i in stage.inputs)
        self.bounded = any(i.extent != "item" for i in stage.inputs)
        self.waits = frozenset(i for i, o in operators.items() if isinstance(o, Waits))
        self.keeps = frozenset(
            n.id for n in stage.nodes if n.extent != "item" and isinstance(operators.get(n.id), EndsExecutions)
        )
        self.clear()

    def clear(self) -> None:
        """Forget the step. Called before each one as well: the last may have been broken off."""
        self._noted = Noted(of_rows=self._of_rows, errors_only=self._errors_only)

    def entered(self, rows: Mapping[str, Batch]) -> None:
        """Rows enter the stage, by the node whose output they are."""
        some = {node: batch for node, batch in rows.items() if len(batch) and node not in self._aside}
        self._noted.entered += [(node, self._who(batch, ids=True)) for node, batch in some.items()]
        if self._headers:
            triggers = [b for node, b in some.items() if node in self.triggers and HEADERS in b.frame.columns]
            self._noted.headers += [(self._who(b, ids=True), b.frame[HEADERS]) for b in triggers]
        if self._samples:
            self._noted.samples += [(node, "out", self._who(b, ids=True), b) for node, b in some.items()]

    def again(self, rows: Batch, *, undone: bool = False) -> None:
        """Rows enter the stage at a node, given again; `undone`: for the compensations of their steps."""
        self._noted.entered.append((UNDONE if undone else AGAIN_NODE, self._who(rows, ids=True)))

    def ran(self, plan: NodePlan, inputs: Mapping[str, Batch], result: Result) -> None:
        """A node was given rows, or gave rows out of its state (no `inputs`)."""
        heard = 0  # rows that tell of executions are nobody's
        for port in [p for p in inputs if self._aside.intersection(w.node for w in plan.wires.get(p, ()))]:
            heard += len(inputs[port])
            inputs = {p: batch for p, batch in inputs.items() if p != port}
        outputs = tuple(self._who(batch) for batch in result.outputs.values() if len(batch))
        failed = None if result.failed is None or not len(result.failed) else self._who(result.failed)
        woken = result.woken is not None and len(result.woken) > 0
        if inputs or outputs or failed is not None or woken:
            taken = tuple(self._who(batch) for batch in inputs.values())
            filtered = result.filtered - heard
            note = Ran(plan.id, taken, outputs, failed, filtered, result.absorbed, result.emitted)
            if result.waiting is not None and result.filtered:
                note = replace(note, waiting=self._who(result.waiting))
            if result.woken is not None and woken:
                note = replace(note, woken=self._who(result.woken))
            self._noted.ran.append(note)
            if self._samples:
                shown = {**result.outputs, **({} if failed is None else {"error": result.failed})}
                self._noted.samples += [(plan.id, port, self._who(b), b) for port, b in shown.items() if b]

    def failed(self, node: str, rows: Batch, fate: Fate) -> None:
        """Rows failed at a node; `rows` have the columns of errors."""
        if fate == "outrun" and self._errors_only:
            return  # nothing is wrong with their executions
        self._noted.failed.append((node, fate, rows))

    def unwritten(self, rows: Batch) -> None:
        """Rows at sinks that their topics do not take."""
        self._noted.unwritten.append(rows)

    def lost(self, node: str, fate: Fate, executions: pl.DataFrame) -> None:
        """Records of a trigger that are no rows. `executions`: `@execution`, `@error_code`, `@error_message`."""
        self._noted.lost.append((node, fate, executions.with_columns(pl.lit(node).alias(ERROR_NODE))))

    def ended(self, execution: str, tasks: int) -> None:
        """The end of an execution has come to this task, as it does to all `tasks` of the stage."""
        self._noted.ended[execution] = tasks

    def take(self, ids: Ids | None) -> Counts | None:
        """What became of the step's executions; None: nothing that leaves a record. `ids`: the executions of rows by
        `@row`, where each row that enters is one of its own (`own`).
        """
        noted = self._noted
        self.clear()
        if not noted or (self._errors_only and not noted.failures and not noted.given_again):
            return None
        counting = Counting(noted, ids if self.own else None, self._topics, self._sinks)
        counts = counting.counts()
        if self._samples:
            counts.samples = sampled(noted.samples, counting.place, most=self._samples, redact=self._redact)
        if noted.headers:
            counts.context = contexts(noted.headers, counting.place, self._headers, self._redact, len(counts))
        return counts if len(counts) else None

    def _who(self, batch: Batch, *, ids: bool = False) -> Who:
        frame, columns = batch.frame, batch.frame.columns
        told = frame[EXECUTION] if (ids or not self._of_rows) and not self.own and EXECUTION in columns else None
        return Who(frame[ROW], told, frame[PATH] if PATH in columns else None)
