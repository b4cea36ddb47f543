"""Start-time fair queueing, by a virtual clock: shares follow weights, nobody starves, nobody saves up."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamflow.workers.fair_queue import FairQueue, Taken

COST_MAX = 8.0
costs = st.lists(st.floats(0.1, COST_MAX), min_size=1, max_size=12)
flows = st.lists(st.tuples(st.integers(1, 10), costs), min_size=2, max_size=4)


class Threads:
    """Threads that take jobs of a queue by a virtual clock. A flow's name is its number."""

    def __init__(self, flows: Sequence[tuple[int, list[float]]], threads: int) -> None:
        self.queue: FairQueue[float] = FairQueue()
        self.flows = [self.queue.join(str(n), weight) for n, (weight, _) in enumerate(flows)]
        self.costs = [cost for _, cost in flows]
        self.served = [0.0] * len(flows)  # what was begun
        self.given = [0] * len(flows)
        self.now, self.free = 0.0, threads
        self.running: list[tuple[float, int, Taken[float]]] = []
        self.order: list[int] = []

    def fill(self, n: int, depth: int) -> None:
        """The flow has as many jobs waiting."""
        while len(self.flows[n].waiting) < depth:
            self.queue.push(self.flows[n], self.costs[n][self.given[n] % len(self.costs[n])])
            self.given[n] += 1

    def turn(self) -> None:
        """Free threads take what is next; then the first job ends."""
        while self.free and (taken := self.queue.pop()) is not None:
            n = int(taken.flow.name)
            self.served[n] += taken.job
            self.order.append(n)
            self.free -= 1
            heapq.heappush(self.running, (self.now + taken.job, len(self.order), taken))
        if self.running:
            self.now, _, taken = heapq.heappop(self.running)
            self.queue.done(taken, taken.job)
            self.free += 1


@given(flows, st.integers(1, 4), st.integers(20, 120))
def test_flows_that_have_work_are_served_by_their_weights(
    flows: list[tuple[int, list[float]]], threads: int, turns: int
) -> None:
    """Method: all have jobs waiting at any time; after each turn no two differ by more than the jobs under way."""
    ran = Threads(flows, threads)
    for _ in range(turns):
        for n in range(len(flows)):
            ran.fill(n, 2)
        ran.turn()
        part = [served / weight for served, (weight, _) in zip(ran.served, flows, strict=True)]
        for i, (one, _) in enumerate(flows):
            for j, (other, _) in enumerate(flows):
                assert abs(part[i] - part[j]) <= (threads + 1) * (COST_MAX / one + COST_MAX / other)


@given(st.integers(1, 10), st.integers(1, 10), costs, costs, st.integers(1, 200))
def test_who_was_idle_saved_nothing_up(
    weight: int, other: int, mine: list[float], theirs: list[float], before: int
) -> None:
    """Method: one flow alone for a while; when the other comes, both are served by their weights from then on."""
    ran = Threads([(weight, mine), (other, theirs)], 1)
    for _ in range(before):
        ran.fill(0, 2)
        ran.turn()
    at = list(ran.served)
    for _ in range(60):
        ran.fill(0, 2)
        ran.fill(1, 2)
        ran.turn()
        part = [(ran.served[n] - at[n]) / w for n, w in enumerate((weight, other))]
        assert abs(part[0] - part[1]) <= 3 * (COST_MAX / weight + COST_MAX / other)


@given(flows, st.integers(1, 4))
def test_one_job_beside_floods_waits_for_a_bounded_time(flows: list[tuple[int, list[float]]], threads: int) -> None:
    """Method: all but the last flow flood; a single job of the last one is begun within what one round may take."""
    ran = Threads(flows, threads)
    last = len(flows) - 1
    for _ in range(50):
        for n in range(last):
            ran.fill(n, 5)
        ran.turn()
    begun, asked = len(ran.order), ran.now
    ran.fill(last, 1)
    while last not in ran.order[begun:]:
        for n in range(last):
            ran.fill(n, 5)
        ran.turn()
    bound = sum((weight + 2) * 2 * COST_MAX for weight, _ in flows)
    assert ran.now - asked <= (threads + 1) * bound


@given(st.lists(st.floats(0.1, COST_MAX), min_size=2, max_size=9))
def test_within_a_flow_jobs_go_in_turn(jobs: list[float]) -> None:
    queue: FairQueue[float] = FairQueue()
    flow = queue.join("a", 1)
    for job in jobs:
        queue.push(flow, job)
    assert len(queue) == len(jobs)
    found = []
    while (taken := queue.pop()) is not None:
        queue.done(taken, taken.job)
        found.append(taken.job)
    assert found == jobs
