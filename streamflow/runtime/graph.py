"""One step through a stage's nodes: rows in, rows for sinks and dead letters out, every row accounted for.

Nodes run in topological order, each once per step with all its ports. Conditions are masks, fan-out shares the frame,
several wires into a port are merged by a stable sort on (arrival, path, wire). Nothing here touches a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

import polars as pl

from streamflow.model.again import AGAIN_NODE
from streamflow.model.batch import (
    ERROR_CODE,
    ERROR_MESSAGE,
    ERROR_NODE,
    PASSED,
    PATH,
    ROW,
    Batch,
    kept_columns,
)
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.typed_json import untyped_items
from streamflow.runtime.careful import carefully
from streamflow.runtime.control import AtNode, Endings
from streamflow.runtime.error_items import error_items
from streamflow.runtime.event_time import END_OF_TIME, NO_WATERMARK
from streamflow.runtime.execution_counts import Fate
from streamflow.runtime.executions import Watch
from streamflow.runtime.feeds import Feeds
from streamflow.runtime.loops import BACK_PORT, Seen, in_order, leaving, outside, within_loops
from streamflow.runtime.node_times import NO_TIMES, lowered, pieces, step_times, times_of
from streamflow.runtime.passing import Passing
from streamflow.runtime.portions import joined, portions, worth_it
from streamflow.runtime.spent import Spent
from streamflow.runtime.tombstones import entering
from streamflow.sdk.errors import StreamflowError
from streamflow.sdk.operator import (
    CANCELLED,
    EXECUTION_TIMED_OUT,
    OUTRUN,
    Bounds,
    Commits,
    Context,
    EndsExecutions,
    Holds,
    Operator,
    Result,
    Settles,
    StepTimes,
    Timed,
    Waits,
)
from streamflow.sdk.state import TransactionalStore
from streamflow.topology.failures import ENDED_PORT, NO_ROOM, ONWARD_PORT
from streamflow.topology.plan import NodePlan, StagePlan

_WIRE = "@wire"
_ENDS: Final[tuple[tuple[str, Fate, str], ...]] = (  # code of rows that end, their fate, its counter
    (CANCELLED, "cancelled", "cancelled"),
    (EXECUTION_TIMED_OUT, "timed_out", "timed_out"),
    (OUTRUN, "outrun", "cancelled"),
)


@dataclass(slots=True)
class NodeCounts:
    """Rows of one node since the last commit; see `ledger.NodeCounts`."""

    rows_in: int = 0
    rows_out: int = 0
    forwarded: int = 0
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    failed_from_state: int = 0
    dead_lettered: int = 0
    to_error_port: int = 0
    continued: int = 0
    cancelled: int = 0
    timed_out: int = 0
    ports: dict[str, int] = field(default_factory=dict)  # rows out by port, `error` included


@dataclass(slots=True)
class StepOutput:
    """What one step made: rows for sinks by node id, and failed rows for the dead letter topic."""

    records: dict[str, list[Batch]] = field(default_factory=dict)
    dead: list[Batch] = field(default_factory=list)  # with @error_code, @error_message, @error_node
    told: list[Batch] = field(default_factory=list)  # failed rows that a policy handles, for the topic of errors
    stop_row: int | None = None  # first row (by @row) whose failure policy is `stop`
    stop_error: tuple[str, str, str] = ("", "", "")  # its node, code and message

    @property
    def stop_text(self) -> str:
        node, code, message = self.stop_error
        return f"node {node!r}: {code}: {message}"


class AccountingError(StreamflowError):
    """An operator broke the rule that each input row has exactly one fate."""

    code = "SF610"


@dataclass(slots=True)
class _Step:
    """The rows of one step on their way."""

    ports: dict[tuple[str, str], Batch] = field(default_factory=dict)  # (node, port) -> rows
    out: StepOutput = field(default_factory=StepOutput)
    given: dict[tuple[str, str], Batch] = field(default_factory=dict)  # (node, input port) -> rows by no wire


class Graph:
    """The nodes of one stage with their operators, for one task. Not thread-safe: one step at a time."""

    def __init__(
        self,
        stage: StagePlan,
        operators: Mapping[str, Operator],
        contexts: Mapping[str, Context],
        *,
        one_to_one: frozenset[str] = frozenset(),
        behind: Mapping[str, int] | None = None,
        tap: Callable[[str, str, Batch], None] | None = None,
        careful: bool = False,
        kept: Mapping[str, Mapping[str, pl.DataType]] | None = None,
    ) -> None:
        """`behind`: how far the event time of a node's input lies behind the task's, ms (see `node_times`). `careful`:
        see there. `kept`: by node, the columns `@nodes.…` that its items may have, as far as they begin in this stage.
        """
        self.careful = careful
        self.spent = Spent()
        self._stage, self._operators, self._contexts = stage, operators, contexts
        self._behind, self._kept = behind or {}, kept or {}
        self._timed: dict[str, Timed] = {i: o for i, o in operators.items() if isinstance(o, Timed)}
        self._waits: dict[str, Waits] = {i: o for i, o in operators.items() if isinstance(o, Waits)}
        lasting = {n.id for n in stage.nodes if n.lasting}
        self._holds = {i: o for i, o in operators.items() if isinstance(o, Holds) and i not in lasting}
        self._bounds: dict[str, Bounds] = {i: o for i, o in operators.items() if isinstance(o, Bounds)}
        self._at_ends: dict[str, EndsExecutions] = {i: o for i, o in operators.items() if isinstance(o, EndsExecutions)}
        self._settles: dict[str, Settles] = {i: o for i, o in operators.items() if isinstance(o, Settles)}
        self._hooks: list[tuple[Commits, Context]] = [
            (o, contexts[i]) for i, o in operators.items() if isinstance(o, Commits)
        ]
        self._one_to_one, self._tap = one_to_one, tap
        self._error_wired = {w.node for n in stage.nodes for ws in n.wires.values() for w in ws if w.port == "error"}
        self._undone = {w.node for n in stage.nodes for ws in n.wires.values() for w in ws if w.port == ENDED_PORT}
        self._passing = {
            n.id: Passing(n.id, n.outputs[ONWARD_PORT], n.errors.value) for n in stage.nodes if ONWARD_PORT in n.outputs
        }
        self._sink_nodes = {s.wire.node for s in stage.sinks if s.kind != "trigger"}
        self._in_portions = worth_it(stage)
        self._gone = {i.node: i.gone for i in stage.inputs if i.gone is not None}
        self.watch: Watch | None = None  # where executions leave records
        self.endings: Endings | None = None  # the same: which of them are to end
        self.feeds = Feeds.of(stage)  # where rows are on the way to a gather
        self._within = within_loops(stage)
        self._leaving = {loop: leaving(loop, stage.nodes) for loop in self._within if loop}
        self.counts = self._no_counts()

    def take_counts(self) -> dict[str, NodeCounts]:
        """Counts since the last call."""
        counts, self.counts = self.counts, self._no_counts()
        return counts

    def _no_counts(self) -> dict[str, NodeCounts]:
        """Of all nodes, and of inputs whose rows enter by several ports."""
        return {
            node: NodeCounts()
            for node in (*(n.id for n in self._stage.nodes), *self._gone, *([AGAIN_NODE] if self._stage.again else ()))
        }

    def step(self, rows: Mapping[str, Batch]) -> StepOutput:
        """Push rows through the stage. `rows`: by the node whose output they enter as; `@row` orders all of them."""
        if self._tap:
            for node, batch in rows.items():
                for (_, port), entered in entering(node, batch, self._gone.get(node)).items():
                    self._tap(node, port, entered)
        out = StepOutput()
        if self.watch:
            self.watch.entered(rows)
        if self.feeds:
            self.feeds.entered(rows)
        if self._timed:
            *before, (last, times) = pieces(rows, times_of(rows))
            for piece, seen in before:  # time began anew behind it
                self._push(piece, out, seen, end_ms=END_OF_TIME)
            return self._push(last, out, times)
        if not self._in_portions or len(rows) > 1 or any(batch.schema.kind != "any" for batch in rows.values()):
            return self._push(rows, out)
        ((node, batch),) = rows.items()
        for portion in portions(batch):
            self._push({node: portion}, out)
        out.records = {sink: joined(batches) for sink, batches in out.records.items()}
        out.dead, out.told = joined(out.dead), joined(out.told)
        return out

    def enter(self, rows: Mapping[tuple[str, str], Batch]) -> StepOutput:
        """Rows that are given again enter nodes by their ports, past what is wired there. Not in the body of a loop."""
        return self._push({}, StepOutput(), NO_TIMES, given=rows)

    def advance(self) -> StepOutput:
        """Event time may have gone on without rows: operators that waited for it act."""
        return self._push({}, StepOutput(), NO_TIMES) if self._timed else StepOutput()

    def due_ms(self) -> int | None:
        """The earliest wall time at which an operator has something to do; None: none waits."""
        if self.endings is not None and self.endings.fresh:
            return 0
        due = (operator.due_ms(self._contexts[node]) for node, operator in self._waits.items())
        return min((ms for ms in due if ms is not None), default=None)

    def room(self) -> Mapping[str, int]:
        """By input of the stage, how many rows may come in for now, where that is bounded."""
        found: dict[str, int] = {}
        for plan in self._stage.nodes if self._bounds else ():
            if plan.id in self._bounds:
                for port, rows in self._bounds[plan.id].room(self._contexts[plan.id]).items():
                    for wire in plan.wires.get(port, ()):
                        found[wire.node] = min(rows, found.get(wire.node, rows))
        return found

    def goes_on_by_itself(self) -> bool:
        """Whether what waits in operators goes on by the clock soon."""
        return any(operator.goes_on_by_itself(self._contexts[node]) for node, operator in self._bounds.items())

    def wake(self) -> StepOutput:
        """Operators for which it is time, by the clock of their contexts, act; and what is held of executions that are
        to end is given up.
        """
        return self._push({}, StepOutput(), wakes=True)

    def behind_ms(self, node: str) -> int:
        """How far event times of the rows of `node` may lie behind the task's watermark."""
        timed = self._timed.get(node)
        return self._behind.get(node, 0) + (timed.holds_ms if timed is not None else 0)

    def _push(
        self,
        rows: Mapping[str, Batch],
        out: StepOutput,
        times: pl.DataFrame = NO_TIMES,
        *,
        end_ms: int | None = None,
        wakes: bool = False,
        given: Mapping[tuple[str, str], Batch] | None = None,
    ) -> StepOutput:
        """`times`: of the rows, where a node waits for time. `end_ms`: event time behind the rows, where it is not what
        the contexts say. `wakes`: see `wake`. `given`: see `enter`.
        """
        step = _Step(out=out, given=dict(given or {}))
        for node, batch in rows.items():
            entered = entering(node, batch, self._gone.get(node))
            if node in self._gone:
                self._count_entering(self.counts[node], entered)
            step.ports.update(entered)
        ending = self._ending()
        orders = ending.take_fresh() if ending is not None and wakes else None
        for plan in self._within[""]:
            self._take(plan, step, ending, entering=bool(rows), times=times)
            if orders is not None and plan.id in self._holds and orders.concern(plan.id):
                released = self._holds[plan.id].release(AtNode(orders, plan.id), self._contexts[plan.id])
                self._end_held(plan, released, step)
            if wakes and plan.id in self._waits:
                self._wake(plan, step)
            if plan.id in self._timed:
                end = self._contexts[plan.id].watermark_ms if end_ms is None else end_ms
                self._advance(plan, step_times(times, end, self._behind.get(plan.id, 0)), step)
                self._show(plan, step)
        assert not step.given, f"no such places: {list(step.given)}"
        return out

    @staticmethod
    def _count_entering(counts: NodeCounts, entered: Mapping[tuple[str, str], Batch]) -> None:
        for (_, port), rows in entered.items():
            counts.ports[port] = counts.ports.get(port, 0) + len(rows)
            counts.rows_in += len(rows)
            counts.forwarded += len(rows)
            counts.rows_out += len(rows)

    def _wake(self, plan: NodePlan, step: _Step) -> None:
        operator, ctx = self._waits[plan.id], self._contexts[plan.id]
        due_ms = operator.due_ms(ctx)
        if due_ms is not None and due_ms <= ctx.now_ms:
            result = self.spent.on(plan.id, lambda: operator.wake(ctx))
            self._from_state(plan, result, step)
            self._end_held(plan, result, step)

    def _advance(self, plan: NodePlan, times: StepTimes, step: _Step) -> None:
        operator = self._timed[plan.id]
        result = self.spent.on(plan.id, lambda: operator.advance(times, self._contexts[plan.id]))
        self._from_state(plan, result, step)

    def _ending(self) -> Endings | None:
        """What says which executions end; None: none does."""
        return self.endings if self.endings is not None and self.endings.some else None

    def _take(
        self, plan: NodePlan, step: _Step, ending: Endings | None, *, entering: bool = False,
        times: pl.DataFrame = NO_TIMES,
    ) -> None:  # fmt: skip
        """A node gets what is there for it, less rows whose execution ends here. `entering`: rows enter the stage."""
        inputs, over = self._gather(plan, step), list[Batch]()
        if inputs and ending is not None:
            if plan.id in (ending.first if entering else ending.gathered):
                inputs, over = self._apart(plan, inputs, ending.apart)
            elif plan.id in ending.lost_at:
                inputs, over = self._apart(plan, inputs, ending.outrun)
        if inputs:
            self._run_or_repeat(plan, inputs, step, times)
        for batch in over:
            self._end(plan, batch, step)

    @staticmethod
    def _apart(
        plan: NodePlan, inputs: dict[str, Batch], apart: Callable[[str, Batch], tuple[Batch, Batch | None]]
    ) -> tuple[dict[str, Batch], list[Batch]]:
        """What came to a node: by port the rows that it is given, and those whose execution ends."""
        given: dict[str, Batch] = {}
        over: list[Batch] = []
        for port, batch in inputs.items():
            going, ends = apart(plan.id, batch)
            if len(going):
                given[port] = going
            if ends is not None:
                over.append(ends)
        return given, over

    def _end(self, plan: NodePlan, rows: Batch, step: _Step) -> None:
        """Rows end where they came to a node."""
        self.counts[plan.id].rows_in += len(rows)
        if self.watch:
            self.watch.ran(plan, {"in": rows}, Result(failed=rows))
        self._ended(plan, rows, step)

    def _end_held(self, plan: NodePlan, result: Result, step: _Step) -> None:
        """Rows end that a node held."""
        if result.ended is None or not len(result.ended):
            return
        self.counts[plan.id].failed_from_state += len(result.ended)
        if self.watch:
            self.watch.ran(plan, {}, Result(failed=result.ended))
        if self.feeds:
            self.feeds.ran(plan, {}, Result(failed=result.ended, woken=result.ended))
        self._ended(plan, result.ended, step)

    def _ended(self, plan: NodePlan, rows: Batch, step: _Step) -> None:
        """The fate of rows whose execution was cancelled, or has had its time, or whose branch lost."""
        rows = rows.with_frame(rows.frame.with_columns(pl.lit(plan.id).alias(ERROR_NODE)))
        counts, codes = self.counts[plan.id], rows.frame[ERROR_CODE]
        for code, fate, counter in _ENDS:
            own = codes == code
            if not (n := int(own.sum())):
                continue
            setattr(counts, counter, getattr(counts, counter) + n)
            if fate in self._stage.also_told:
                step.out.told.append(rows.where(own))
            self._watch_failed(plan, rows.where(own), fate)
        rows = rows.where(codes != OUTRUN)  # what a branch did that lost is as if it had been later: it stays
        if plan.id in self._undone and len(rows):
            counts.ports[ENDED_PORT] = counts.ports.get(ENDED_PORT, 0) + len(rows)
            items = error_items(rows)
            if (earlier := step.ports.get((plan.id, ENDED_PORT))) is not None:
                items = merge_wires([(0, earlier), (1, items)], items.schema)
            step.ports[plan.id, ENDED_PORT] = items

    def _from_state(self, plan: NodePlan, result: Result, step: _Step) -> None:
        """What came out without rows going in."""
        self._account(plan, 0, result, 0)
        if self.watch:
            self.watch.ran(plan, {}, result)
        if self.feeds:
            self.feeds.ran(plan, {}, result)
        self.counts[plan.id].failed_from_state += 0 if result.failed is None else len(result.failed)
        self._place(plan, result, step, append=True)

    def end(self, execution: str) -> StepOutput:
        """An execution ended: operators that waited for it emit, in topological order."""
        step = _Step()
        for plan in self._within[""]:
            inputs = self._gather(plan, step)
            if inputs:
                self._run_or_repeat(plan, inputs, step)
            operator = self._at_ends.get(plan.id)
            if operator is not None:
                self._at_end(plan, execution, operator.end(execution, self._contexts[plan.id]), step)
            if plan.id in self._timed:
                self._show(plan, step)
        return step.out

    def settle(self, node: str, executions: Sequence[str], rows: Sequence[int]) -> StepOutput:
        """Operators fed by rows of `node` are told how many more rows of executions are on their way to them."""
        step = _Step()
        ending = self._ending()
        for plan in self._within[""]:
            self._take(plan, step, ending)
            operator = self._settles.get(plan.id)
            if operator is not None and any(w.node == node for wires in plan.wires.values() for w in wires):
                self._from_state(plan, operator.settle(executions, rows, self._contexts[plan.id]), step)
            if plan.id in self._timed:
                self._show(plan, step)
        return step.out

    def _at_end(self, plan: NodePlan, execution: str, result: Result, step: _Step) -> None:
        """What a node gives at the end of an execution; nothing where that was cancelled."""
        given: dict[str, Batch] = {}
        for port, batch in result.outputs.items() if self.endings is not None and not plan.lasting else ():
            given[port], over = self.endings.ended(plan.id, execution, batch)  # type: ignore[union-attr]
            if over is not None:
                self._end_held(plan, Result(ended=over), step)
        outputs = given or result.outputs
        emitted = result.emitted - sum(map(len, result.outputs.values())) + sum(map(len, outputs.values()))
        self._from_state(plan, replace(result, outputs=outputs, emitted=emitted), step)

    def hooks(self) -> list[tuple[Commits, Context]]:
        """Operators with effects outside the log, which follow the transaction."""
        return self._hooks

    def operator(self, node: str) -> Operator:
        """The operator of a node of this stage."""
        return self._operators[node]

    def _gather(self, plan: NodePlan, step: _Step, *, come_back: bool = False) -> dict[str, Batch]:
        """Rows at the ports of a node; of a loop those that enter, or those that come back."""
        inputs: dict[str, Batch] = {}
        for port, wires in plan.wires.items():
            if come_back is not (plan.id in self._within and port == BACK_PORT):
                continue
            arrived = [
                (index, lowered(rows, self._behind.get(plan.id, 0) - self.behind_ms(wire.node)))
                for index, wire in enumerate(wires)
                if (rows := step.ports.get((wire.node, wire.port))) is not None and len(rows)
            ]
            if step.given and (again := step.given.pop((plan.id, port), None)) is not None:
                arrived.append((len(wires), again))
            if arrived:
                inputs[port] = self._with_kept(plan, merge_wires(arrived, plan.inputs[port]))
        return inputs

    def _with_kept(self, plan: NodePlan, rows: Batch) -> Batch:
        """Rows that all came past a node have none of what it keeps; an expression may ask for it all the same."""
        missing = {c: t for c, t in self._kept.get(plan.id, {}).items() if c not in rows.frame.columns}
        if not missing:
            return rows
        nothing = [pl.lit(None, dtype).alias(column) for column, dtype in missing.items()]
        return replace(rows, frame=rows.frame.with_columns(nothing))

    def _run_or_repeat(
        self, plan: NodePlan, inputs: dict[str, Batch], step: _Step, times: pl.DataFrame = NO_TIMES
    ) -> None:
        """A loop goes on until no row is left in it; what leaves its body on the way is put together behind it."""
        body = self._within.get(plan.id)
        if body is None:
            self._run(plan, inputs, step, times)
            return
        left: dict[tuple[str, str], list[Batch]] = {}
        inside, taken = self._leaving[plan.id]
        tap, seen = self._tap, Seen()
        self._tap = seen.see if tap else None
        try:
            while inputs:
                self._run(plan, inputs, step, times)
                for node in body:
                    if arrived := self._gather(node, step):
                        self._run_or_repeat(node, arrived, step, times)
                inputs = self._gather(plan, step, come_back=True)
                for place in [p for p in step.ports if p[0] in inside]:
                    rows = step.ports.pop(place)
                    if place in taken:
                        left.setdefault(place, []).append(outside(plan.id, rows))
        finally:
            self._tap = tap
        step.ports.update({place: in_order(rounds) for place, rounds in left.items()})
        if tap:
            for shown, port, rows in seen.in_order():
                tap(shown, port, rows)

    def _run(self, plan: NodePlan, inputs: dict[str, Batch], step: _Step, times: pl.DataFrame = NO_TIMES) -> None:
        """`times`: of the rows that entered the stage."""
        operator, ctx = self._operators[plan.id], self._contexts[plan.id]
        out_of_state: list[Result] = []
        if self.careful and plan.stores:
            stores = cast("list[TransactionalStore]", [ctx.store(name) for name in plan.stores])
            result = carefully(
                lambda rows: operator.process(rows, ctx), inputs, stores,
                lambda: out_of_state.append(self._given_so_far(plan, operator, ctx, times)),
            )  # fmt: skip
        else:
            result = self.spent.on(plan.id, lambda: operator.process(inputs, ctx))
        rows_in = sum(len(b) for b in inputs.values())
        failed = 0 if result.failed is None else len(result.failed)
        self._account(plan, rows_in, result, failed)
        if self.watch:
            self.watch.ran(plan, inputs, result)
        if self.feeds:
            self.feeds.ran(plan, inputs, result)
        self._place(plan, result, step, append=False)
        for more in out_of_state:
            self._from_state(plan, more, step)

    def _given_so_far(self, plan: NodePlan, operator: Operator, ctx: Context, times: pl.DataFrame) -> Result:
        """What an operator keeps for the end of a step, such as coalesced values, when it takes several parts."""
        if not isinstance(operator, Timed):
            return Result()
        return operator.advance(step_times(times, NO_WATERMARK, self._behind.get(plan.id, 0)), ctx)

    def _account(self, plan: NodePlan, rows_in: int, result: Result, failed: int) -> None:
        rows_out = sum(len(b) for b in result.outputs.values())
        children = rows_out - result.emitted
        forwarded = rows_in - result.filtered - result.absorbed - failed
        # Every forwarded row has at least one child, and exactly one where the kind says so.
        exact = plan.id in self._one_to_one or forwarded <= 0
        if forwarded < 0 or children < forwarded or (exact and children != forwarded):
            raise AccountingError(
                f"node {plan.id!r} ({plan.kind}): {rows_in} rows in, but {rows_out} out, {result.filtered} filtered, "
                f"{result.absorbed} absorbed, {failed} failed and {result.emitted} emitted: rows were lost or doubled.",
                mend="This is a defect of the node; nothing of this step was committed.",
            )
        counts = self.counts[plan.id]
        counts.rows_in += rows_in
        counts.rows_out += rows_out
        counts.forwarded += forwarded
        counts.filtered += result.filtered
        counts.absorbed += result.absorbed
        counts.emitted += result.emitted

    def _place(self, plan: NodePlan, result: Result, step: _Step, *, append: bool) -> None:
        ports = self.counts[plan.id].ports
        for port, batch in result.outputs.items():
            if not len(batch):
                continue
            if plan.id in self._timed:
                batch = lowered(batch, self.behind_ms(plan.id) - self._behind.get(plan.id, 0))
            ports[port] = ports.get(port, 0) + len(batch)
            if plan.keep and port != "records":
                present = [f for f in plan.keep if f == PASSED or f in batch.frame.columns]
                kept = batch.frame.with_columns(**kept_columns(plan.id, present))
                batch = replace(batch, frame=kept)  # the same items, so what is parsed of them stays
            if self._tap and plan.id not in self._timed:
                self._tap(plan.id, port, Batch(batch.frame, batch.schema))
            if port == "records" and plan.id in self._sink_nodes:
                step.out.records.setdefault(plan.id, []).append(batch)
                continue
            before = step.ports.get((plan.id, port)) if append else None
            if before is None:
                step.ports[plan.id, port] = batch
            elif plan.id in self._timed:  # what time brought out stands before the row that moved time
                step.ports[plan.id, port] = merge_wires([(0, batch), (1, before)], batch.schema, by=(ROW,))
            else:
                step.ports[plan.id, port] = merge_wires([(0, before), (1, batch)], batch.schema)
        if result.told is not None and len(result.told) and "breaker" in self._stage.also_told:
            step.out.told.append(
                result.told.with_frame(result.told.frame.with_columns(pl.lit(plan.id).alias(ERROR_NODE)))
            )
        if result.failed is not None and len(result.failed):
            self._fail(plan, result.failed, step, append=append)

    def _show(self, plan: NodePlan, step: _Step) -> None:
        """What a node gave in a step, when time has brought out the rest of it."""
        if self._tap is None:
            return
        for (node, port), batch in step.ports.items():
            if node == plan.id and port not in ("error", ONWARD_PORT, ENDED_PORT):
                self._tap(node, port, Batch(batch.frame, batch.schema))

    def _fail(self, plan: NodePlan, failed: Batch, step: _Step, *, append: bool) -> None:
        policy = plan.errors.on_error
        if policy not in ("stop", "dead_letter") and (full := failed.frame[ERROR_CODE].is_in(NO_ROOM)).any():
            # To go on as if it had been tried would be out of turn: others of its key wait.
            self._dead(plan, failed.where(full), step)
            failed = failed.where(~full)
            if not len(failed):
                return
        counts, n = self.counts[plan.id], len(failed)
        if ERROR_NODE not in failed.frame.columns:
            failed = failed.with_frame(failed.frame.with_columns(pl.lit(plan.id).alias(ERROR_NODE)))
        halting = failed.frame.filter(pl.col(ERROR_CODE) == "stopped") if policy != "stop" else failed.frame
        if policy == "stop" or halting.height:
            first = halting.sort(ROW).row(0, named=True)
            if step.out.stop_row is None or first[ROW] < step.out.stop_row:
                step.out.stop_row = first[ROW]
                step.out.stop_error = (plan.id, first[ERROR_CODE], first[ERROR_MESSAGE])
            counts.dead_lettered += n  # never committed: the step is repeated up to the row before
            return
        if policy in self._stage.also_told and (policy != "error_port" or plan.id in self._error_wired):
            step.out.told.append(failed)
        if policy == "continue":
            self._watch_failed(plan, failed, "continued")
            counts.continued += n
        elif policy == "pass" and plan.id not in self._passing:
            self._watch_failed(plan, failed, "continued")
            counts.continued += n  # nothing is behind it
        elif policy == "pass" or (policy == "error_port" and plan.id in self._error_wired):
            port = "error" if policy == "error_port" else ONWARD_PORT
            counts.to_error_port += n
            counts.ports[port] = counts.ports.get(port, 0) + n
            self._watch_failed(plan, failed, "to_error_port")
            rows = error_items(failed) if policy == "error_port" else self._passing[plan.id].rows(failed)
            if self._tap:
                self._tap(plan.id, port, rows)
            if append and (earlier := step.ports.get((plan.id, port))) is not None:
                rows = merge_wires([(0, earlier), (1, rows)], rows.schema)
            step.ports[plan.id, port] = rows
        else:
            self._dead(plan, failed, step)

    def _dead(self, plan: NodePlan, failed: Batch, step: _Step) -> None:
        self.counts[plan.id].dead_lettered += len(failed)
        if ERROR_NODE not in failed.frame.columns:
            failed = failed.with_frame(failed.frame.with_columns(pl.lit(plan.id).alias(ERROR_NODE)))
        self._watch_failed(plan, failed, "dead_lettered")
        step.out.dead.append(failed)

    def _watch_failed(self, plan: NodePlan, rows: Batch, fate: Fate) -> None:
        if self.watch:
            self.watch.failed(plan.id, rows, fate)


def merge_wires(arrived: Sequence[tuple[int, Batch]], schema: Schema, *, by: Sequence[str] = (ROW, PATH)) -> Batch:
    """Rows of several wires as one batch: a stable sort by (arrival, path, wire)."""
    if len(arrived) == 1:
        return _conform(arrived[0][1], schema)
    frames = [
        _conform(rows, schema).frame.with_columns(pl.lit(index, dtype=pl.UInt32).alias(_WIRE))
        for index, rows in arrived
    ]
    merged = pl.concat(frames, how="diagonal")
    order = [*(c for c in by if c in merged.columns), _WIRE]
    return Batch(merged.sort(order, maintain_order=True, nulls_last=False).drop(_WIRE), schema)


def _conform(rows: Batch, schema: Schema) -> Batch:
    """Rows under the port's schema, which the compiler found all wires to fit: widened, missing fields null."""
    if rows.schema is schema or rows.schema == schema:
        return rows
    wanted = frame_schema(schema)
    have = dict(zip(rows.frame.columns, rows.frame.dtypes, strict=True))
    if schema.kind == "any" and rows.schema.kind == "record":
        texts = untyped_items(rows).alias(PAYLOAD)
        return Batch(rows.frame.select(rows.reserved_columns()).with_columns(texts), schema)
    columns: list[pl.Expr] = []
    for name, dtype in wanted.items():
        if name not in have:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
        elif have[name] != dtype:
            columns.append(pl.col(name).cast(dtype))
        else:
            columns.append(pl.col(name))
    return Batch(rows.frame.select([pl.col(c) for c in rows.reserved_columns()] + columns), schema)
