"""Executions that are cancelled at any moment: how a stream is cut into steps shows nowhere, and others do not notice.

Method: items come, time goes on and executions are cancelled in an order that is drawn; the same again cut into other
steps, with the same fates at every node; and once more without the cancelled items at all, with the same outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.nodes import registry
from streamflow.operators.control import Order, Orders
from streamflow.runtime.control import Endings
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

WORKFLOW = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json}
  pause: {type: wait, for: long(n) % 5 * 10}
  told: {type: wait, signal: go, key: string(long(n) % 3), timeout: 40ms}
  moved: {type: repartition, key: string(n), partition_count: 1}
  shaky: {type: set, fields: {got: 10 // (long(n) % 4)}, retry: {mode: park, attempts: 3, delay: 15ms}}
  out: {type: no-op}
  late: {type: no-op}
connections: [start -> pause -> told -> moved -> shaky -> out, told.timeout -> late]
policies: {executions: all}
"""
TOPOLOGY = compiled(WORKFLOW)
FATES = ("rows_in", "rows_out", "filtered", "absorbed", "emitted", "dead_lettered", "cancelled", "failed_from_state")


@dataclass(frozen=True)
class Event:
    """`items`: numbers that come. `ms`: how far time goes on. `cancel`: items that came, or will, by their place."""

    items: tuple[int, ...] = ()
    ms: int = 0
    cancel: tuple[int, ...] = ()
    signal: int | None = None


EVENTS = st.lists(
    st.one_of(
        st.builds(Event, items=st.lists(st.integers(0, 11), min_size=1, max_size=8).map(tuple)),
        st.builds(Event, ms=st.integers(1, 60)),
        st.builds(Event, cancel=st.lists(st.integers(0, 20), min_size=1, max_size=3).map(tuple)),
        st.builds(Event, signal=st.integers(0, 2)),
    ),
    max_size=12,
)


class Played:
    """What a driver makes of events. `without`: places of items that are left out."""

    def __init__(self, events: list[Event], step_rows: int, *, without: frozenset[int]) -> None:
        self.driver = TopologyDriver(TOPOLOGY, nodes=registry(), step_rows=step_rows)
        self.orders: list[Orders] = []
        for stage in TOPOLOGY.stages:
            self.orders.append(Orders())
            self.driver._graphs[stage.id].endings = Endings(stage, self.orders[-1])
        place = 0
        for event in [*events, *[Event(ms=50)] * 12]:
            places = range(place, place + len(event.items))
            place += len(event.items)
            items = [{"n": n, "at": at} for at, n in zip(places, event.items, strict=True) if at not in without]
            if items:
                self.driver.feed("start", items, keys=[str(item["n"]).encode() for item in items])
            if event.signal is not None:
                self.driver.signal("told", [{"key": str(event.signal)}])
            for at in event.cancel:
                for orders in self.orders:
                    orders.add(f"in#test/0:{at}", Order("cancelled", 0))
            self.driver.wake(self.driver.clock.now_ms + event.ms)

    def outputs(self) -> dict[str, list[Any]]:
        return {node: [item["at"] for item in self.driver.items(node)] for node in ("out", "late")}

    def fates(self) -> dict[str, list[int]]:
        return {node: [getattr(counts, f) for f in FATES] for node, counts in self.driver.counts().items()}


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(1, 5))
def test_steps_show_nowhere(events: list[Event], step_rows: int) -> None:
    whole = Played(events, 1 << 30, without=frozenset())
    cut = Played(events, step_rows, without=frozenset())
    assert cut.outputs() == whole.outputs()
    assert cut.fates() == whole.fates()
    assert len(cut.driver.dead_letters()) == len(whole.driver.dead_letters())


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(1, 5))
def test_every_item_has_one_fate(events: list[Event], step_rows: int) -> None:
    played = Played(events, step_rows, without=frozenset())
    items = sum(len(event.items) for event in events)
    found = played.outputs()
    cancelled = sum(counts.cancelled for counts in played.driver.counts().values())
    assert len(found["out"]) + len(found["late"]) + len(played.driver.dead_letters()) + cancelled == items
    assert len({*found["out"], *found["late"]}) == len(found["out"]) + len(found["late"])


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(1, 5))
def test_what_is_cancelled_before_it_comes_was_never_there(events: list[Event], step_rows: int) -> None:
    """Items of an execution that is not there take their place on the topic all the same."""
    cancelled = frozenset(at for event in events for at in event.cancel)
    rest = [event for event in events if not event.cancel]
    told = Played([Event(cancel=tuple(cancelled)), *rest], step_rows, without=frozenset())
    assert told.outputs() == Played(rest, step_rows, without=cancelled).outputs()
