"""What a task may take of what it read, and what it has of the budget meanwhile."""

from __future__ import annotations

from streamflow.model.positions import TopicPartition
from streamflow.runtime.allowance import Allowance
from streamflow.sdk.log import RecordBatch
from streamflow.workers.budget import SharedBudget

ONE, OTHER = TopicPartition("one", 0), TopicPartition("other", 0)


def budget(bytes_max: int = 1_000, executions_max: int = 10) -> SharedBudget:
    return SharedBudget(bytes_max=bytes_max, executions_max=executions_max, clock_s=lambda: 0.0)


def batch(first: int, last: int, count: int, size_bytes: int = 10) -> RecordBatch:
    return RecordBatch(
        base_offset=first, last_offset=last, count=count, base_timestamp_ms=0, max_timestamp_ms=0,
        body=b"x" * size_bytes,
    )  # fmt: skip


def test_each_input_that_came_gets_of_the_executions_left() -> None:
    shared = budget(executions_max=10)
    task = Allowance(shared.part("a"), [ONE, OTHER])
    assert task.may_read(100)
    task.read([(ONE, 0, [batch(0, 99, 100)]), (OTHER, 7, [batch(0, 99, 100)])])
    assert (task.until(ONE), task.until(OTHER)) == (5, 12)
    assert shared.executions_used == 10


def test_what_one_input_does_not_need_is_left_to_the_other() -> None:
    task = Allowance(budget(executions_max=10).part("a"), [ONE, OTHER])
    assert task.may_read(100)
    task.read([(ONE, 0, [batch(0, 1, 2)]), (OTHER, 0, [batch(0, 99, 100)])])
    assert (task.until(ONE), task.until(OTHER)) == (None, 8)


def test_records_count_and_not_the_offsets_between_them() -> None:
    shared = budget(executions_max=10)
    task = Allowance(shared.part("a"), [ONE])
    assert task.may_read(100)
    task.read([(ONE, 5, [batch(1_000, 900_000, 3), batch(900_001, 5_000_000, 4)])])
    assert task.until(ONE) is None
    assert shared.executions_used == 7
    task.clear()
    assert task.may_read(100)
    task.read([(ONE, 5, [batch(1_000, 900_000, 3), batch(900_001, 5_000_000, 40)])])
    assert task.until(ONE) == 900_001 + 7
    assert shared.executions_used == 10


def test_executions_are_shared_by_weight_among_those_who_wait() -> None:
    """Method: one holds them all; three more wait, one record each is all they ask for. It commits."""
    shared = budget(executions_max=50)
    tasks = [Allowance(shared.part(*part), [ONE]) for part in (("a", 1), ("b", 1), ("c", 3), ("b", 1))]

    def read(task: Allowance) -> int | None:
        task.read([(ONE, 0, [batch(0, 99, 100)])])
        return task.until(ONE)

    assert [task.may_read(10) for task in tasks] == [True] * 4
    for task in tasks[1:]:
        task.read([])
    assert read(tasks[0]) == 50
    assert [task.may_read(10) for task in tasks[1:]] == [False] * 3
    tasks[0].stepped([])
    tasks[0].committed()
    assert [read(task) for task in tasks[1:]] == [6, 33, 11]
    assert shared.executions_used == 50


def test_who_was_given_all_gives_back_the_share_of_who_came_behind() -> None:
    shared = budget(executions_max=40)
    one, other = Allowance(shared.part("a", 1), [ONE]), Allowance(shared.part("b", 3), [ONE])
    shared.change(0, 40)  # somebody else has them all
    assert not other.may_read(10)
    shared.change(0, -40)
    assert other.may_read(10)
    assert not one.may_read(10)
    other.read([(ONE, 0, [batch(0, 99, 100)])])
    assert other.until(ONE) == 30
    one.read([(ONE, 0, [batch(0, 99, 100)])])
    assert one.until(ONE) == 10


def test_what_was_read_ahead_counts_as_what_it_is() -> None:
    shared = budget()
    task = Allowance(shared.part("a"))
    assert task.may_read(400)
    assert task.read_ahead(ONE, 400)
    task.read([(ONE, 0, [batch(0, 0, 1)])])
    task.came_ahead(ONE, 30)
    task.came_ahead(OTHER, 30)  # dropped in the meantime
    assert shared.bytes_used == 40
    task.use_ahead(ONE)
    assert task.may_read(30)
    assert shared.bytes_used == 40, "nothing more is needed to take it"
    task.clear()
    assert shared.bytes_used == 0


def test_what_was_granted_since_it_asked_is_kept() -> None:
    """Method: the turn in which it lined up is still under way when its turn comes; it gives way at the end of it."""
    shared = budget(bytes_max=100)
    task = Allowance(shared.part("a"), [ONE])
    shared.change(100)
    assert not task.may_read(50)
    shared.change(-100)
    assert task.blocked, "nobody has looked yet at what is there"
    task.give_way()
    assert shared.bytes_used == 50
    assert task.may_read(50)
    task.give_way()
    assert shared.bytes_used == 0
