"""The topology test driver: pushes items through a whole topology without a log, and shows what every port gave.

Stages are chained in memory: what one writes to an internal topic enters the next at once. One task a stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson
import polars as pl

from streamflow.model.batch import (
    EXECUTION,
    GONE,
    KEY,
    OFFSET,
    PARTITION,
    PATH,
    POSITION,
    ROW,
    SOURCE,
    TOPIC,
    TS,
    WM,
    Batch,
    kept_columns,
)
from streamflow.model.types import PAYLOAD
from streamflow.operators.control import Orders
from streamflow.operators.lost_branches import BRANCH_OVER, Lost
from streamflow.operators.signals import HEARD, SIGNAL
from streamflow.runtime.build import Functions, build_graph
from streamflow.runtime.context import StepClock, held_back
from streamflow.runtime.control import Endings
from streamflow.runtime.event_time import END_OF_TIME, NO_WATERMARK
from streamflow.runtime.feeds import ROWS
from streamflow.runtime.graph import Graph, NodeCounts, StepOutput
from streamflow.runtime.program import copying
from streamflow.runtime.races import decided
from streamflow.runtime.signals import read_id, waiting_nodes
from streamflow.runtime.tombstones import read_keys
from streamflow.runtime.watermark import SourceWatermark
from streamflow.sdk.errors import Stopped, UsageError
from streamflow.sdk.registry import NodeRegistry
from streamflow.sdk.state import TransactionalStore
from streamflow.state.memory import MemoryStore
from streamflow.testing.driven_executions import Teller
from streamflow.testing.items import frame_from_items, items_from_frame
from streamflow.topology.plan import InputPlan, StagePlan, TablePlan, Topology


class TopologyDriver:
    """Feed triggers, read ports. `outputs[node, port]` are batches in order; `dead` are failed rows."""

    def __init__(
        self, topology: Topology, *, nodes: NodeRegistry, functions: Functions | None = None, step_rows: int = 1 << 30
    ) -> None:
        self.topology, self._step_rows = topology, step_rows
        self.outputs: dict[tuple[str, str], list[Batch]] = {}
        self.dead: list[Batch] = []
        self.clock = StepClock(sleep=_at_once)
        self.stores: dict[tuple[str, str], TransactionalStore] = {}
        self._graphs: dict[str, Graph] = {}
        self._tables: dict[str, tuple[InputPlan, Graph]] = {}  # global tables
        self._offsets: dict[str, int] = {}
        self._started: dict[str, int] = {}  # trigger -> offset at which its open execution began
        self._clocks: dict[str, SourceWatermark] = {}  # by trigger
        self._times: dict[str, dict[str, int]] = {}  # watermark of each input, by stage
        self._coming_back: deque[Callable[[], None]] = deque()  # to loops, by topics
        self._teller = Teller(topology)
        self._gathers = any(stage.feeds for stage in topology.stages)
        self._queue: deque[Callable[[], None]] = deque()
        self._draining = False
        for stage in topology.stages:
            if any(i.source for i in stage.inputs):
                continue
            for table in stage.tables:
                if table.node.id not in self._tables:
                    self._tables[table.node.id] = table.input, self._filling(stage, table, nodes, functions or {})
            self.stores.update({(s.node, s.name): MemoryStore() for s in stage.stores})
            self._graphs[stage.id] = build_graph(
                topology,
                stage,
                nodes,
                self.stores,
                self.clock,
                partition=0,
                functions=functions or {},
                tap=self._tap,
                careful=True,
            )
            self._teller.watch(stage, self._graphs[stage.id])
        self._orders: dict[str, Orders] = {}  # by stage; only where branches race
        if any(stage.races for stage in topology.stages):
            self._orders = {stage: Orders() for stage in self._graphs}
            for stage_id, graph in self._graphs.items():
                graph.endings = Endings(topology.stage(stage_id), self._orders[stage_id])

    def feed(
        self,
        trigger: str,
        items: Sequence[object],
        *,
        keys: Sequence[bytes | None] | None = None,
        times_ms: Sequence[int] | None = None,
        end: bool = True,
    ) -> None:
        """Items enter at a trigger; those of a bounded trigger form one execution, which ends unless `end` is false.

        An execution that was left open goes on with the next call. None with a key is a record without value, where
        the trigger lets those leave by its port `gone`.
        """
        stage, entry = self._entered(trigger)
        frame = _frame(entry, items, keys)
        n, first = frame.height, self._offsets.get(trigger, 0)
        self._offsets[trigger] = first + n
        source = f"{entry.topic or trigger}#test/0"
        execution = f"{source}:{self._started.setdefault(trigger, first)}"
        each = pl.concat_str(pl.lit(source + ":"), pl.col(OFFSET).cast(pl.String))
        times = list(times_ms) if times_ms is not None else [0] * n
        frame = frame.with_columns(
            pl.Series(KEY, list(keys) if keys is not None else [None] * n, dtype=pl.Binary),
            pl.Series(TS, times, dtype=pl.Int64),
            pl.lit(source).alias(SOURCE),
            pl.int_range(first, first + n, dtype=pl.Int64, eager=True).alias(OFFSET),
            pl.lit(b"").alias(PATH),
        ).with_columns(
            pl.col(OFFSET).alias(POSITION),
            pl.lit(entry.topic or trigger).alias(TOPIC),
            pl.lit(0, dtype=pl.Int32).alias(PARTITION),
            (each if entry.extent == "item" else pl.lit(execution)).alias(EXECUTION),
        )
        clock = self._clocks.setdefault(trigger, SourceWatermark(disorder_ms=entry.disorder_ms))
        frame = frame.with_columns(clock.advance(frame[TS]).alias(WM))
        for read, graph in self._tables.values():
            if read.node == trigger:
                self._fill(graph, entry, frame)
        if stage is not None:
            self._seed(stage, entry, frame)
        self._go_round()
        if end:
            del self._started[trigger]
            if stage is not None and entry.extent != "item":
                self._end(stage, execution)
                self._advance(stage, entry, END_OF_TIME)
        self._tell()

    def signal(self, node: str, signals: Sequence[object]) -> None:
        """Signals come for a node that waits: objects with the fields of `schemas/signal.avsc`, all but `key` optional,
        where `payload` is a JSON value.
        """
        waiting = waiting_nodes(self.topology)
        if node not in waiting:
            raise UsageError(f"node {node!r} waits for no signal; {', '.join(waiting) or 'none'} does.")
        name, told = waiting[node].params["signal"], []
        for given in signals:
            if not isinstance(given, dict) or "key" not in given or set(given) - {f.name for f in SIGNAL.fields}:
                raise UsageError(f"a signal for {node!r} has `key`, and may have `payload`, `execution`, `token`.")
            payload = orjson.dumps(given["payload"]).decode() if "payload" in given else None
            told.append({"name": name, "execution": None, "node": node, "token": None, **given, "payload": payload})
        self.feed(read_id(node), told)

    def pass_time(self, ms: int | None = None) -> None:
        """The clock goes on, and what waits for it goes on; None: until nothing waits for the clock any more."""
        end_ms = None if ms is None else self.clock.now_ms + ms
        while True:
            waiting = [(due, stage) for stage, graph in self._graphs.items() if (due := graph.due_ms()) is not None]
            due_ms, stage_id = min(waiting, default=(None, ""))
            if due_ms is None or (end_ms is not None and due_ms > end_ms):
                break
            self.clock.now_ms = max(self.clock.now_ms, due_ms)
            stage = self.topology.stage(stage_id)
            self.clock.watermark_ms = self._least(stage)
            self._flow(stage, self._graphs[stage_id].wake(), self.clock.watermark_ms)
            self._go_on()
        self.clock.now_ms = self.clock.now_ms if end_ms is None else end_ms

    def wake(self, now_ms: int) -> None:
        """The clock is at `now_ms` all at once, as after a pause of the process: what is due by then acts then."""
        self.clock.now_ms = now_ms
        for stage_id, graph in self._graphs.items():
            while (due_ms := graph.due_ms()) is not None and due_ms <= now_ms:
                self._flow(self.topology.stage(stage_id), graph.wake(), self.clock.watermark_ms)
                self._go_round()
        self._go_on()

    def commit(self) -> None:
        """What a task does with stores and outside effects when it commits."""
        hooks = [hook for graph in self._graphs.values() for hook in graph.hooks()]
        for operator, ctx in hooks:
            operator.prepare(ctx)
        for store in self.stores.values():
            store.commit(store.changelog_offset + len(store.changes()))
        for operator, ctx in hooks:
            operator.committed(ctx)

    def items(self, node: str, port: str = "") -> list[object]:
        """Items that a port gave, as JSON values; for a node that publishes, what it published."""
        if not port:
            port = "records" if (node, "records") in self.outputs else "out"
        return [v for b in self.outputs.get((node, port), []) for v in items_from_frame(b.frame, b.schema)]

    def dead_letters(self) -> list[dict[str, object]]:
        """Failed rows that would be dead letters: node, code, message, item."""
        found: list[dict[str, object]] = []
        for batch in self.dead:
            items = items_from_frame(batch.frame.select(batch.payload_columns()), batch.schema)
            columns = ["@error_node", "@error_code", "@error_message"]
            for (node, code, message), item in zip(batch.frame.select(columns).iter_rows(), items, strict=True):
                found.append({"node": node, "code": code, "message": message, "item": item})
        return found

    def counts(self) -> Mapping[str, NodeCounts]:
        """Counts of all nodes since the start."""
        graphs = (*self._graphs.values(), *(graph for _, graph in self._tables.values()))
        return {node: c for graph in graphs for node, c in graph.counts.items()}

    def _filling(self, stage: StagePlan, table: TablePlan, nodes: NodeRegistry, functions: Functions) -> Graph:
        """What keeps a global table, which all who look into it share here."""
        copy = copying(stage, table)
        self.stores.update({(s.node, s.name): MemoryStore() for s in copy.stores})
        return build_graph(
            self.topology, copy, nodes, self.stores, self.clock, partition=0, functions=functions, tap=self._tap
        )

    def _fill(self, graph: Graph, entry: InputPlan, frame: pl.DataFrame) -> None:
        frame = frame.with_columns(**kept_columns(entry.node, entry.keep))
        out = graph.step({entry.node: Batch(frame.with_row_index(ROW), entry.schema)})
        if out.stop_row is not None:
            raise Stopped(out.stop_text)
        self.dead.extend(out.dead)

    def _entered(self, trigger: str) -> tuple[StagePlan | None, InputPlan]:
        """Where items of a trigger enter; no stage where only global tables take them."""
        for entry, _ in self._tables.values():
            if entry.node == trigger and not any(i.node == trigger for s in self.topology.stages for i in s.inputs):
                return None, entry
        return self._entry(trigger)

    def _entry(self, trigger: str) -> tuple[StagePlan, InputPlan]:
        for stage in self.topology.stages:
            for entry in stage.inputs:
                if entry.node == trigger and not entry.source:
                    return stage, entry
        triggers = sorted({i.node for s in self.topology.stages for i in (*s.inputs, *(t.input for t in s.tables))})
        raise UsageError(f"no trigger {trigger!r}; there are {', '.join(triggers)}.")

    def _seed(self, stage: StagePlan, entry: InputPlan, frame: pl.DataFrame) -> None:
        frame = frame.with_columns(**kept_columns(entry.node, entry.keep))
        for at in range(0, frame.height, self._step_rows):
            part = frame.slice(at, self._step_rows)
            if entry.back:  # event time does not come by it
                part = part.with_columns(pl.lit(self._least(stage), dtype=pl.Int64).alias(WM))
            marks = part[WM].to_list() if WM in part.columns else [self._least(stage)]
            if stage.timed and not entry.back:  # elsewhere nothing tells what arrived at other inputs before
                marks = [self._time(stage, entry, ms) for ms in marks]
                part = part.with_columns(pl.Series(WM, marks, dtype=pl.Int64))
            part = part.drop(ROW, strict=False).with_row_index(ROW)
            self.clock.watermark_ms = marks[-1]
            out = self._graphs[stage.id].step({entry.node: Batch(part, entry.schema)})
            self._flow(stage, out, marks[-1])

    def _time(self, stage: StagePlan, entry: InputPlan, watermark_ms: int) -> int:
        """The stage's watermark when this input's has come to `watermark_ms`: the least over its inputs."""
        known = self._times.setdefault(stage.id, {i.node: NO_WATERMARK for i in stage.inputs})
        # It goes back only where a bounded trigger had ended and goes on.
        known[entry.node] = watermark_ms if known[entry.node] == END_OF_TIME else max(known[entry.node], watermark_ms)
        return self._least(stage)

    def _least(self, stage: StagePlan) -> int:
        """The stage's watermark now. Signals have no part in it where there is anything else."""
        known = self._times.get(stage.id, {})
        of_loops = [i.node for i in stage.inputs if i.back]
        items = [
            known[i.node] for i in stage.inputs if i.node in known and not i.back and i.schema not in (SIGNAL, HEARD)
        ]
        return min(items or (ms for node, ms in known.items() if node not in of_loops), default=NO_WATERMARK)

    def _advance(self, stage: StagePlan, entry: InputPlan, watermark_ms: int) -> None:
        """An input's event time has gone on without rows."""
        self.clock.watermark_ms = self._time(stage, entry, watermark_ms)
        self._flow(stage, self._graphs[stage.id].advance(), self.clock.watermark_ms)

    def _flow(self, stage: StagePlan, out: StepOutput, watermark_ms: int) -> None:
        """Rows, and then event time, go on to the stages behind."""
        if out.stop_row is not None:
            raise Stopped(out.stop_text)
        self._teller.stepped(stage, self._graphs[stage.id])
        self.dead.extend(out.dead)
        for sink in stage.sinks:
            if sink.kind != "repartition":
                continue
            following, entry = self._entry(sink.wire.node)
            for batch in out.records.get(sink.wire.node, []):
                frame = batch.frame
                if WM not in frame.columns:  # items that were put aside carry none where nothing reads it
                    frame = frame.with_columns(pl.lit(watermark_ms, dtype=pl.Int64).alias(WM))
                step = partial(self._seed, following, entry, frame)
                if entry.back:
                    self._coming_back.append(step)
                else:
                    self._next(step)
            if sink.watermarks:
                behind_ms = self._graphs[stage.id].behind_ms(sink.wire.node)
                self._next(partial(self._advance, following, entry, held_back(watermark_ms, behind_ms)))
        if (feeds := self._graphs[stage.id].feeds) is not None:
            for node, told in feeds.sums().items():
                self._next(partial(self._settle, node, told))
        while self._queue and not self._draining:
            self._draining = True
            try:
                self._queue.popleft()()
            finally:
                self._draining = False

    def _next(self, step: Callable[[], None]) -> None:
        """A stage behind takes what was written: at once, or, where a gather counts what is under way, in the order in
        which all was written, as on a log.
        """
        if self._gathers:
            self._queue.append(step)
        else:
            step()

    def _settle(self, node: str, told: pl.DataFrame) -> None:
        stage = self._entry(node)[0]
        out = self._graphs[stage.id].settle(node, told[EXECUTION].to_list(), told[ROWS].to_list())
        said = decided(stage, self._graphs[stage.id])
        for orders in self._orders.values():
            for one in said:
                if one.action == BRANCH_OVER:
                    orders.lost.over(one.execution, one.by or "")
                else:
                    lost = Lost(one.reason or "", self.clock.now_ms, frozenset(one.nodes or ()))
                    orders.lost.add(one.execution, one.by or "", lost)
        if said:
            self._next(self._stop_losers)
        self._flow(stage, out, self.clock.watermark_ms)

    def _stop_losers(self) -> None:
        """Nodes that hold rows hear of branches that have lost."""
        for stage_id, orders in self._orders.items():
            if orders.lost.fresh:
                self._flow(self.topology.stage(stage_id), self._graphs[stage_id].wake(), self.clock.watermark_ms)

    def _go_on(self) -> None:
        """Everything goes on that needs no clock."""
        self._go_round()
        self._tell()

    def _go_round(self) -> None:
        """Rows that came to the ends of rounds go on, until all of them wait or have left their loops."""
        while self._coming_back:
            self._coming_back.popleft()()

    def _tell(self) -> None:
        """Nodes hear what became of executions, until nothing more becomes of them by that."""
        while told := self._teller.take():
            for stage, entry in self._teller.heard:
                frame = frame_from_items(told, entry.schema)
                nobody = pl.lit("").alias(EXECUTION), pl.lit(b"").alias(PATH), pl.lit(0, dtype=pl.Int64).alias(TS)
                rows = frame.with_row_index(ROW).with_columns(*nobody, pl.lit(self._least(stage)).alias(WM))
                out = self._graphs[stage.id].step({entry.node: Batch(rows, entry.schema)})
                self._flow(stage, out, self.clock.watermark_ms)
                self._go_round()

    def _end(self, stage: StagePlan, execution: str) -> None:
        self._flow(stage, self._graphs[stage.id].end(execution), self.clock.watermark_ms)
        for sink in stage.sinks:
            if sink.kind == "repartition":
                self._end(self._entry(sink.wire.node)[0], execution)

    def _tap(self, node: str, port: str, batch: Batch) -> None:
        wanted = [c for c in batch.frame.columns if not c.startswith(("@nodes.", "@loop."))]
        self.outputs.setdefault((node, port), []).append(replace(batch, frame=batch.frame.select(wanted)))


def _at_once(seconds: float) -> None:
    """Retries do not wait here."""


def _frame(entry: InputPlan, items: Sequence[object], keys: Sequence[bytes | None] | None) -> pl.DataFrame:
    if entry.gone is None or keys is None:
        return frame_from_items(items, entry.schema)
    there = [item is not None or key is None for item, key in zip(items, keys, strict=True)]
    frame = frame_from_items([item for item, is_there in zip(items, there, strict=True) if is_there], entry.schema)
    at = iter(range(frame.height))
    index = pl.Series([next(at) if is_there else None for is_there in there], dtype=pl.UInt32)
    gone = pl.Series(GONE, [None if is_there else key for is_there, key in zip(there, keys, strict=True)], pl.Binary)
    typed, wrong = read_keys(pl.DataFrame([*(column.gather(index) for column in frame), gone]), entry.gone)
    if wrong.any():
        raise UsageError(f"a key of an item that is None is no {entry.gone.fields[0].type}.")
    return typed


__all__ = ["PAYLOAD", "TopologyDriver"]
