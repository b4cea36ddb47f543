"""The budget of a process: whatever the order in which tasks ask and give back, all of them get through, and what is
held stays within the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from streamflow.model.positions import TopicPartition
from streamflow.runtime.allowance import Allowance
from streamflow.sdk.log import RecordBatch
from streamflow.workers.budget import SharedBudget

STEP_BYTES_MAX = 100


@dataclass
class OneTask:
    """A task as the budget sees it: reads, perhaps reads ahead or holds a read for later, makes outputs, commits."""

    allowance: Allowance
    inputs: list[TopicPartition]
    reads: list[int]  # bytes of each read to come; a record a byte
    holds: int  # so often what is read waits for a later turn, as where inputs are merged
    done: int = 0
    pending: list[int] = field(default_factory=list)
    hand: int | None = None
    ahead: bool = False

    def turn(self, *, commits: bool) -> None:
        """One turn of a driver, as `Task.fetch` and `Task.take` make it."""
        moved, at = False, self.inputs[0]
        if self.done < len(self.reads):
            if self.hand is None:
                self.allowance.use_ahead(at)
                self.ahead = False
                if self.allowance.may_read(STEP_BYTES_MAX):
                    size = self.reads[self.done]
                    self.ahead = self.allowance.read_ahead(at, STEP_BYTES_MAX)
                    batch = RecordBatch(
                        base_offset=0, last_offset=size - 1, count=size, base_timestamp_ms=0, max_timestamp_ms=0,
                        body=b"x" * size,
                    )  # fmt: skip
                    self.allowance.read([(at, 0, [batch])])
                    end = self.allowance.until(at)
                    assert end is None or end >= 1, "something can always be taken"
                    self.hand = size if end is None else end
                    moved = self.holds <= 0
                    self.holds -= 1
            else:
                moved = True
            if moved and self.hand is not None:
                self.allowance.stepped([])
                self.allowance.made(self.hand // 2)
                self.pending.append(self.hand)
                self.reads[self.done] -= self.hand
                if self.reads[self.done] <= 0:
                    self.done += 1
                self.hand = None
        self.allowance.over([] if self.hand is None else [at])
        if self.pending and (commits or self.allowance.short):
            self.pending.clear()
            self.allowance.committed()
        if self.allowance.blocked or (not moved and self.allowance.short):
            self.hand, self.ahead = None, False
            self.allowance.give_way()
        if self.done >= len(self.reads):
            self.allowance.read([])

    @property
    def over(self) -> bool:
        return self.done >= len(self.reads) and not self.pending


tasks = st.lists(
    st.tuples(st.lists(st.integers(1, STEP_BYTES_MAX), min_size=0, max_size=4), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(tasks, st.integers(1, 1_000), st.integers(1, 200), st.data())
def test_all_tasks_get_through_and_the_bound_holds(
    asked: list[tuple[list[int], int, bool]], bytes_max: int, executions_max: int, data: st.DataObject
) -> None:
    """Method: tasks of two workflows take turns in any order, commit early or late, hold reads or not."""
    budget = SharedBudget(bytes_max=bytes_max, executions_max=executions_max, clock_s=lambda: 0.0)
    parts = [budget.part("a", 1), budget.part("b", 3)]
    made = []
    for n, (reads, holds, begins) in enumerate(asked):
        at = TopicPartition(f"t{n}", 0)
        made.append(OneTask(Allowance(parts[n % 2], [at] if begins else []), [at], list(reads), holds))
    one_read = STEP_BYTES_MAX * 2  # and what it made; it may be more than the whole budget
    for turn in range(5_000):
        left = [task for task in made if not task.over]
        if not left:
            break
        if turn < 60:
            left[data.draw(st.integers(0, len(left) - 1))].turn(commits=data.draw(st.booleans()))
        else:
            for task in left:
                task.turn(commits=True)
        assert budget.bytes_used <= max(bytes_max, STEP_BYTES_MAX) + len(made) * one_read
        assert budget.executions_used <= executions_max
    assert all(task.over for task in made), "somebody waits for ever"
    for task in made:
        task.allowance.clear()
    assert (budget.bytes_used, budget.executions_used, budget.waiting) == (0, 0, 0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(1, 100))
def test_who_leaves_the_line_lets_the_others_go_on(sizes: list[int], bytes_max: int) -> None:
    budget = SharedBudget(bytes_max=bytes_max, executions_max=1, clock_s=lambda: 0.0)
    part = budget.part("a")
    made = [Allowance(part) for _ in sizes]
    begun = [allowance.may_read(size) for allowance, size in zip(made, sizes, strict=True)]
    assert begun[0]
    for allowance in made:
        allowance.clear()
    assert (budget.bytes_used, budget.waiting) == (0, 0)
