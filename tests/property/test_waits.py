"""Waits against a plain model of their rules, cut into steps anywhere, with stores that were aborted and restored.

The model goes row by row and keeps plain lists. The clock stands still between two readings, as it does for a task in
one step; at each reading what is due goes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.batch import EXECUTION, PATH, RESERVED, ROW, TS, Batch
from streamflow.model.types import LONG, STRING, Schema, record_of
from streamflow.nodes.signal_wait import SignalWait
from streamflow.operators.signals import HEARD
from streamflow.sdk.expression import Expression
from streamflow.sdk.operator import Operator, Result, Waits
from streamflow.state.memory import MemoryStore
from streamflow.testing.operator_kit import KitBuild, make_node

ITEMS: Schema = record_of({"n": LONG, "key": STRING, "wait": LONG})
KEEP_EARLY_MS = 20
REPEATS_MS = 12
COLUMNS: dict[str, pl.DataType] = {"n": pl.Int64(), "key": pl.String(), "wait": pl.Int64()}


@dataclass(frozen=True)
class Item:
    n: int
    key: str
    execution: str
    wait: int


@dataclass(frozen=True)
class Told:
    n: int
    key: str
    execution: str | None
    id: str | None = None


@dataclass(frozen=True)
class Tick:
    ms: int


Event = Item | Told | Tick
Ports = dict[str, list[Any]]


@dataclass
class Model:
    """The rules of `wait`, one row at a time."""

    answers_all: bool
    early_max: int
    waiting_max: int
    repeats_max: int
    now: int = 0
    known: list[tuple[int, Told]] = field(default_factory=list)  # with the time until which its id is
    waiting: list[tuple[int, Item]] = field(default_factory=list)  # with the time of its time-out
    early: list[tuple[int, Told]] = field(default_factory=list)
    repeats: int = 0
    out: Ports = field(default_factory=lambda: {"out": [], "timeout": [], "unclaimed": [], "refused": []})

    def take(self, event: Event) -> None:
        if isinstance(event, Tick):
            self.now += event.ms
            self.wake()
        elif isinstance(event, Item):
            self.wake()  # items that wait for no time at all
            mine = [s for s in self.early if s[1].key == event.key and s[1].execution in (None, event.execution)]
            if mine:
                self.early.remove(mine[0])
                self.out["out"].append((event.n, mine[0][1].n))
            elif sum(item.key == event.key for _, item in self.waiting) >= self.waiting_max:
                self.out["refused"].append(event.n)
            else:
                self.waiting.append((self.now + event.wait, event))
        else:
            if event.id is not None and any((k.key, k.id) == (event.key, event.id) for _, k in self.known):
                self.repeats += 1
                return
            mine_too = [w for w in self.waiting if w[1].key == event.key and event.execution in (None, w[1].execution)]
            if not mine_too:
                if sum(s.key == event.key for _, s in self.early) >= self.early_max:
                    self.out["unclaimed"].append(event.n)
                    return  # nobody knows of it
                self.early.append((self.now + KEEP_EARLY_MS, event))
            for one in mine_too if self.answers_all else mine_too[:1]:
                self.waiting.remove(one)
                self.out["out"].append((one[1].n, event.n))
            if event.id is not None:
                known = [one for one in self.known if one[1].key == event.key]
                if len(known) >= self.repeats_max:
                    self.known.remove(known[0])
                self.known.append((self.now + REPEATS_MS, event))

    def wake(self) -> None:
        self.known = [one for one in self.known if one[0] > self.now]
        # Of one time: by key, and each key's in order.
        for due, item in sorted((w for w in self.waiting if w[0] <= self.now), key=lambda w: (w[0], w[1].key)):
            self.waiting.remove((due, item))
            self.out["timeout"].append(item.n)
        for due, told in sorted((s for s in self.early if s[0] <= self.now), key=lambda s: (s[0], s[1].key)):
            self.early.remove((due, told))
            self.known = [one for one in self.known if one[1] is not told]
            self.out["unclaimed"].append(told.n)


@dataclass
class Clock:
    """`Context` with a store of its own and a clock that a test sets."""

    base: MemoryStore = field(default_factory=MemoryStore)
    now_ms: int = 0
    watermark_ms: int = 0
    workflow: str = "w"
    stage: str = "s"
    node: str = "n"
    partition: int = 0

    def store(self, name: str) -> MemoryStore:
        return self.base

    def random(self, execution: str, path: bytes = b"") -> Any:
        raise AssertionError("not drawn")


def frame(rows: list[tuple[int, dict[str, Any], str]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    payload = pl.DataFrame([row for _, row, _ in rows], schema=schema)
    reserved: dict[str, list[Any]] = {
        ROW: [at for at, _, _ in rows], TS: [at for at, _, _ in rows], PATH: [b""] * len(rows),
        EXECUTION: [execution for _, _, execution in rows],
    }  # fmt: skip
    return payload.with_columns(pl.Series(name, values, dtype=RESERVED[name]) for name, values in reserved.items())


def inputs(step: list[Item | Told]) -> dict[str, Batch]:
    items = [
        (at, {"n": e.n, "key": e.key, "wait": e.wait}, e.execution) for at, e in enumerate(step) if isinstance(e, Item)
    ]
    told = [
        (at, {"key": e.key, "execution": e.execution, "payload": orjson.dumps(e.n), "id": e.id}, "signal")
        for at, e in enumerate(step)
        if isinstance(e, Told)
    ]
    found = {}
    if items:
        found["in"] = Batch(frame(items, COLUMNS), ITEMS)
    if told:
        of = {"key": pl.String(), "execution": pl.String(), "payload": pl.Binary(), "id": pl.String()}
        found["signals"] = Batch(frame(told, of), HEARD)
    return found


def collect(result: Result, rows_in: int, ports: Ports) -> None:
    """What came out, in order; and each input row has one fate."""
    out = result.outputs.get("out")
    if out is not None:
        assert out.frame[ROW].is_sorted()
        ports["out"] += zip(out.frame["n"].to_list(), [orjson.loads(v) for v in out.frame["signal"]], strict=True)
    if "timeout" in result.outputs:
        ports["timeout"] += result.outputs["timeout"].frame["n"].to_list()
    if "unclaimed" in result.outputs:
        ports["unclaimed"] += [orjson.loads(v) for v in result.outputs["unclaimed"].frame["payload"]]
    failed = 0 if result.failed is None else len(result.failed)
    if result.failed is not None:
        assert set(result.failed.frame["@error_code"]) == {"too_many_waiting"}
        ports["refused"] += result.failed.frame["n"].to_list()
    children = sum(len(b) for b in result.outputs.values()) - result.emitted
    assert children == rows_in - result.filtered - result.absorbed - failed


def made(node: SignalWait) -> Operator:
    build = KitBuild(inputs={"in": ITEMS, "signals": HEARD}, wired=frozenset({"timeout"}))
    build.outputs = node.output_schemas(build)
    assert not build.findings, build.findings
    return node.operator(build)


def wake(operator: Operator, ctx: Clock, ports: Ports) -> None:
    assert isinstance(operator, Waits)
    due = operator.due_ms(ctx)
    if due is not None and due <= ctx.now_ms:
        collect(operator.wake(ctx), 0, ports)
        again = operator.due_ms(ctx)
        assert again is None or again > ctx.now_ms


EXECUTIONS = [None, None, "e1", "e2"]
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("item"), st.sampled_from("abc"), st.sampled_from(["e1", "e2"]), st.sampled_from([5, 9, 30])),
        st.tuples(
            st.just("told"), st.sampled_from("abc"), st.sampled_from([None, None, "e1", "e2"]), st.integers(-3, 3)
        ),
        st.tuples(st.just("tick"), st.just(""), st.just(None), st.integers(1, 15)),
    ),
    max_size=40,
)


def events_of(drawn: list[tuple[str, str, Any, int]]) -> list[Event]:
    found: list[Event] = []
    for n, (kind, key, execution, ms) in enumerate(drawn):
        if kind == "item":
            found.append(Item(n, key, execution, ms))
        elif kind == "told":
            found.append(Told(n, key, execution, str(ms) if ms > 0 else None))
        else:
            found.append(Tick(ms))
    return found


@settings(max_examples=150, deadline=None)
@given(
    drawn=EVENTS, cuts=st.sets(st.integers(0, 40)), aborts=st.sets(st.integers(0, 40)), answers_all=st.booleans(),
    early_max=st.integers(0, 2), waiting_max=st.integers(1, 3), repeats_max=st.integers(1, 2),
)  # fmt: skip
def test_waits_for_signals_do_what_the_rules_say_however_they_are_cut(
    drawn: list[Any],
    cuts: set[int],
    aborts: set[int],
    answers_all: bool,
    early_max: int,
    waiting_max: int,
    repeats_max: int,
) -> None:
    events = events_of(drawn)
    model = Model(answers_all, early_max, waiting_max, repeats_max)
    for event in events:
        model.take(event)
    node = SignalWait(
        signal="s", key=Expression("key"), timeout_ms=Expression("wait"), answers="all" if answers_all else "one",
        keep_early_ms=KEEP_EARLY_MS, keep_early_max=early_max, waiting_max=waiting_max,
        repeats_ms=REPEATS_MS, repeats_max=repeats_max,
    )  # fmt: skip
    operator, ctx = made(node), Clock()
    ports: Ports = {"out": [], "timeout": [], "unclaimed": [], "refused": []}
    step: list[Item | Told] = []

    def work(number: int) -> None:
        nonlocal operator
        if number in aborts and step:
            operator.process(inputs(step), ctx)  # a step that is undone, by whichever way
            ctx.base.abort()
            if number % 2:
                operator = made(node)
        if step:
            collect(operator.process(inputs(step), ctx), len(step), ports)
        step.clear()
        ctx.base.commit(ctx.base.changelog_offset + 1)

    for number, event in enumerate(events):
        if number in cuts:
            work(number)
        if isinstance(event, Tick):
            work(number)
            ctx.now_ms += event.ms
            wake(operator, ctx, ports)
            ctx.base.commit(ctx.base.changelog_offset + 1)
        else:
            step.append(event)
    work(len(events))
    assert ports == model.out
    # When all of them are over, nothing is left.
    ctx.now_ms += 1_000
    model.take(Tick(1_000))
    wake(operator, ctx, ports)
    assert ports == model.out
    assert list(ctx.base.scan()) == []


@settings(max_examples=60, deadline=None)
@given(
    waits=st.lists(st.integers(-3, 40), max_size=60),
    cuts=st.sets(st.integers(0, 60)),
    ticks=st.sets(st.integers(0, 60)),
)
def test_waits_for_a_duration_come_out_in_order_of_time(waits: list[int], cuts: set[int], ticks: set[int]) -> None:
    node = make_node("wait", **{"for": "wait"})
    build = KitBuild(inputs={"in": ITEMS})
    build.outputs = node.output_schemas(build)
    operator, ctx = node.operator(build), Clock()
    expected: list[int] = []
    kept: list[tuple[int, int]] = []  # due, n
    got: list[int] = []
    step: list[tuple[int, dict[str, Any], str]] = []

    def work() -> None:
        if step:
            rows = frame([(at, row, e) for at, (_, row, e) in enumerate(step)], COLUMNS)
            result = operator.process({"in": Batch(rows, ITEMS)}, ctx)
            got.extend(result.outputs["out"].frame["n"].to_list() if "out" in result.outputs else [])
            assert result.absorbed + sum(len(b) for b in result.outputs.values()) == len(step)
        step.clear()

    def past(ms: int) -> None:
        ctx.now_ms += ms
        expected.extend(n for due, n in sorted((k for k in kept if k[0] <= ctx.now_ms), key=lambda k: k[0]))
        kept[:] = [k for k in kept if k[0] > ctx.now_ms]
        assert isinstance(operator, Waits)
        due = operator.due_ms(ctx)
        assert due is None or due <= min((k[0] for k in kept), default=due)
        if due is not None and due <= ctx.now_ms:
            result = operator.wake(ctx)
            got.extend(result.outputs["out"].frame["n"].to_list() if "out" in result.outputs else [])

    for n, wait in enumerate(waits):
        if n in cuts:
            work()
        if n in ticks:
            work()
            past(7)
        step.append((n, {"n": n, "key": "k", "wait": wait}, f"e{n}"))
        if wait <= 0:
            expected.append(n)
        else:
            kept.append((ctx.now_ms + wait, n))
    work()
    past(100)
    assert got == expected
