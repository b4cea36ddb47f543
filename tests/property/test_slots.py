"""Slots against a plain model of their rules, cut into steps anywhere, with stores that were aborted and restored.

The model goes row by row and looks through a plain list for who is next. The clock stands still between two readings,
as it does for a task in one step; at each reading what the rate lets go on goes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.batch import EXECUTION, KEY, PATH, ROW, TS, Batch
from streamflow.model.types import LONG, STRING, Schema, record_of
from streamflow.nodes.slots import HoldSlots
from streamflow.nodes.slots_params import RateForm
from streamflow.operators.slots import ENDS
from streamflow.sdk.expression import Expression
from streamflow.sdk.operator import Bounds, Operator, Result, Waits
from streamflow.testing.operator_kit import KitBuild
from tests.property.test_waits import Clock

ITEMS: Schema = record_of({"n": LONG, "key": STRING, "urgency": LONG})


@dataclass(frozen=True)
class Item:
    n: int
    key: str
    urgency: int


@dataclass(frozen=True)
class Told:
    """A record of the execution of some item that has a slot (`which`, modulo how many there are), or of another."""

    which: int
    change: int
    stage: str


@dataclass(frozen=True)
class Tick:
    ms: int


Event = Item | Told | Tick


@dataclass
class Model:
    """The rules, one row at a time. `held`: by item, rows of it that are left, and its key."""

    slots: int | None
    share: int | None
    rate: tuple[int, int] | None  # ms between two, and how many at once
    aging: int
    queue_max: int
    refuses: bool
    now: int = 0
    next_ms: int = 0
    queue: list[tuple[int, int, Item]] = field(default_factory=list)
    held: dict[int, list[Any]] = field(default_factory=dict)
    out: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def take(self, event: Event, about: int | None) -> None:
        if isinstance(event, Tick):
            self.now += event.ms
        elif isinstance(event, Item):
            rank = self.now - event.urgency * self.aging if self.aging else -event.urgency
            if self.refuses and len(self.queue) >= self.queue_max and not self.may(event.key):
                self.refused.append(event.n)
            else:
                self.queue.append((rank, event.n, event))
        elif about in self.held and event.stage != "before":
            here = event.stage == "s"
            self.held[about][0] += event.change if not here else 0
            if here or self.held[about][0] <= 0:
                del self.held[about]
        self.release()

    def may(self, key: str) -> bool:
        of_key = sum(k == key for _, k in self.held.values())
        return (
            (self.slots is None or len(self.held) < self.slots)
            and (self.share is None or of_key < self.share)
            and (self.rate is None or self.next_ms - (self.rate[1] - 1) * self.rate[0] <= self.now)
        )

    def release(self) -> None:
        while able := [one for one in self.queue if self.may(one[2].key)]:
            best = min(able, key=lambda one: one[:2])
            self.queue.remove(best)
            self.out.append(best[1])
            if self.slots is not None:
                self.held[best[1]] = [1, best[2].key]
            if self.rate is not None:
                self.next_ms = max(self.next_ms, self.now) + self.rate[0]


def operator_of(model: Model) -> Operator:
    rate = None
    if model.rate is not None:
        rate = RateForm(executions=1, per_ms=model.rate[0], burst=model.rate[1])
    node = HoldSlots(
        executions=model.slots, per=None if model.share is None else Expression("key"), share=model.share or 1,
        rate=rate, priority=Expression("urgency"), aging_ms=model.aging or None, queue_max=model.queue_max,
        when_full="fail" if model.refuses else "wait", behind=("behind",),
    )  # fmt: skip
    return node.operator(KitBuild(inputs={"in": ITEMS, "ended": ENDS}, outputs={"out": ITEMS}))


def batches(events: list[tuple[Event, int | None]]) -> dict[str, Batch]:
    """The rows of a step by port."""
    items = [(row, e) for row, (e, _) in enumerate(events) if isinstance(e, Item)]
    told = [(row, e, about) for row, (e, about) in enumerate(events) if isinstance(e, Told)]
    found = {}
    if items:
        frame = pl.DataFrame(
            {
                "n": [e.n for _, e in items], "key": [e.key for _, e in items],
                "urgency": [e.urgency for _, e in items], ROW: pl.Series([r for r, _ in items], dtype=pl.UInt32),
                EXECUTION: [f"e{e.n}" for _, e in items], PATH: [b"p"] * len(items), KEY: [b"k"] * len(items),
                TS: [7] * len(items),
            }
        )  # fmt: skip
        found["in"] = Batch(frame, ITEMS)
    if told:
        frame = pl.DataFrame(
            {
                "execution": [f"e{about}" for _, _, about in told], "stage": [e.stage for _, e, _ in told],
                "received": [max(0, -e.change) for _, e, _ in told], "sent": [max(0, e.change) for _, e, _ in told],
                "waiting": [0] * len(told), "failed": [int(e.stage == "s") for _, e, _ in told],
                ROW: pl.Series([r for r, _, _ in told], dtype=pl.UInt32),
            }
        )  # fmt: skip
        found["ended"] = Batch(frame, ENDS)
    return found


STAGES = ["behind", "behind", "s", "before"]
cut = st.sampled_from([False, False, False, True])  # steps are of several rows
events = st.lists(
    st.one_of(
        st.builds(lambda k, u: (k, u), st.sampled_from("ab"), st.integers(-2, 2)),
        st.builds(Told, st.integers(0, 5), st.sampled_from([-1, -1, 1]), st.sampled_from(STAGES)),
        st.builds(Tick, st.integers(0, 30)),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, 1, 2]), st.sampled_from([None, (10, 1), (7, 3)]),
    st.sampled_from([0, 5]), st.booleans(), st.integers(1, 4), events, st.data(),
)  # fmt: skip
def test_slots_follow_their_rules(
    slots: int | None, share: int | None, rate: tuple[int, int] | None, aging: int, refuses: bool, queue_max: int,
    drawn: list[Any], data: st.DataObject,
) -> None:  # fmt: skip
    model = Model(slots, share if slots else None, rate, aging, queue_max, refuses)
    whole = [Item(n, *e) if isinstance(e, tuple) else e for n, e in enumerate(drawn)]
    operator, clock, got, refused = operator_of(model), Clock(), list[int](), list[int]()

    def took(result: Result, rows: int) -> None:
        assert result.absorbed + result.filtered + (0 if result.failed is None else len(result.failed)) == rows
        if (out := result.outputs.get("out")) is not None:
            frame = out.frame
            assert result.emitted == len(out)
            assert frame[ROW].is_sorted()
            assert frame[EXECUTION].to_list() == [f"e{n}" for n in frame["n"]]
            assert set(frame[PATH]) == {b"p"}
            assert set(frame[TS]) == {7}
            got.extend(frame["n"].to_list())
        refused.extend(() if result.failed is None else result.failed.frame["n"].to_list())

    def step(part: list[tuple[Event, int | None]]) -> None:
        # Begun, and dropped, as by an abort; then done again.
        if data.draw(st.booleans()):
            operator.process(batches(part), clock)
            clock.base.abort()
        took(operator.process(batches(part), clock), len(part))
        clock.base.commit(0)

    waiting: list[tuple[Event, int | None]] = []
    for event in whole:
        known = sorted(model.held)
        about = None
        if isinstance(event, Told):
            about = known[event.which % len(known)] if known else 999
        if isinstance(event, Tick) or data.draw(cut):
            if waiting:
                step(waiting)
            waiting = []
        model.take(event, about)
        if isinstance(event, Tick):
            clock.now_ms = model.now
            assert isinstance(operator, Waits)
            while (due := operator.due_ms(clock)) is not None and due <= clock.now_ms:
                took(operator.wake(clock), 0)
            clock.base.commit(0)
        else:
            waiting.append((event, about))
        if data.draw(st.integers(0, 9)) == 0:  # a task that begins anew
            if waiting:
                step(waiting)
            waiting = []
            operator = operator_of(model)
    if waiting:
        step(waiting)
    assert got == model.out
    assert refused == model.refused
    assert isinstance(operator, Bounds)
    room = operator.room(clock).get("in")
    assert room is None if refuses else room is not None and room <= max(0, queue_max - len(model.queue))
    due = operator.due_ms(clock)  # type: ignore[attr-defined]
    stuck = bool(model.queue) and model.rate is not None
    assert (due is not None) == (stuck and any(_but_for_rate(model, one[2].key) for one in model.queue))


def _but_for_rate(model: Model, key: str) -> bool:
    of_key = sum(k == key for _, k in model.held.values())
    return (model.slots is None or len(model.held) < model.slots) and (model.share is None or of_key < model.share)


KINDS = ["in", "in", "more", "less", "less"]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(KINDS)), min_size=5, max_size=40),
    st.data(),
)
def test_slots_of_items_follow_their_rules(most: int, drawn: list[tuple[str, str]], data: st.DataObject) -> None:
    """Of each execution at most so many rows are behind it, what they become there included."""
    node = HoldSlots(items=most, behind=("behind",))
    operator = node.operator(KitBuild(inputs={"in": ITEMS, "ended": ENDS}, outputs={"out": ITEMS}))
    clock, left, queue = Clock(), {"a": 0, "b": 0}, list[tuple[int, str]]()
    wanted, got = list[int](), list[int]()

    def step(part: list[tuple[int, str, str]]) -> None:
        found = {}
        if items := [(row, n, e) for row, (n, e, what) in enumerate(part) if what == "in"]:
            frame = pl.DataFrame(
                {
                    "n": [n for _, n, _ in items], "key": ["k"] * len(items), "urgency": [0] * len(items),
                    ROW: pl.Series([row for row, _, _ in items], dtype=pl.UInt32),
                    EXECUTION: [e for _, _, e in items], PATH: [b"p"] * len(items), TS: [7] * len(items),
                }
            )  # fmt: skip
            found["in"] = Batch(frame, ITEMS)
        if told := [(row, e, what) for row, (_, e, what) in enumerate(part) if what != "in"]:
            frame = pl.DataFrame(
                {
                    "execution": [e for _, e, _ in told], "stage": ["behind"] * len(told),
                    "received": [int(what == "less") for *_, what in told],
                    "sent": [int(what == "more") for *_, what in told], "waiting": [0] * len(told),
                    "failed": [0] * len(told), ROW: pl.Series([row for row, _, _ in told], dtype=pl.UInt32),
                }
            )  # fmt: skip
            found["ended"] = Batch(frame, ENDS)
        if data.draw(st.booleans()):
            operator.process(found, clock)
            clock.base.abort()
        result = operator.process(found, clock)
        clock.base.commit(0)
        got.extend(result.outputs["out"].frame["n"].to_list() if "out" in result.outputs else [])

    waiting: list[tuple[int, str, str]] = []
    for n, (execution, what) in enumerate(drawn):
        if what != "in" and not left[execution]:
            continue  # nothing of it is there that could become something
        if data.draw(cut) and waiting:
            step(waiting)
            waiting = []
        waiting.append((n, execution, what))
        if what == "in":
            queue.append((n, execution))
        else:
            left[execution] += 1 if what == "more" else -1
        while able := next((one for one in queue if left[one[1]] < most), None):
            queue.remove(able)
            left[able[1]] += 1
            wanted.append(able[0])
    if waiting:
        step(waiting)
    assert got == wanted
