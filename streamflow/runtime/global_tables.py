"""A task's copies of global tables: what it read of their topics, and which part of that it gives account of.

The topic is the table's changelog: nothing else is kept of it on the log. Each copy is read from the beginning when the
task begins, and read on as it works; the journal tells which offsets were read before which step, so that a replay
looks into the same rows. All tasks read the same records, and each record is to be in the ledger, and among the dead
letters if it failed, once: partition `p` is counted by task `p mod tasks`, whose group keeps how far.

The control topic is such a table of which only the newest part has an effect: its copy begins there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.graph import NodeCounts
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.stepped import Stepped
from streamflow.sdk.errors import OffsetOutOfRange
from streamflow.sdk.log import Log, RecordBatch


class GlobalTables:
    """The copies of one task. Computes, but for `begin`."""

    def __init__(self, program: TaskProgram) -> None:
        self._tables = list(program.tables.values())
        self._of = {at: table for table in self._tables for at in table.inputs}
        self.counting = [at for at in self._of if at.partition % program.tasks == program.partition]
        self._control = program.stage.control
        self.positions: dict[TopicPartition, int] = {}
        self._counted: dict[TopicPartition, int] = {}  # up to where records are in the ledger, or wait for the commit
        self._counts: dict[str, NodeCounts] = {}

    def __contains__(self, at: object) -> bool:
        return at in self._of

    def __bool__(self) -> bool:
        return bool(self._of)

    def open(self) -> None:
        """Raises StateBusy, StateError."""
        for table in self._tables:
            table.state.open()

    def close(self) -> None:
        """Harmless where they are not open."""
        for table in self._tables:
            table.state.close()

    def empty(self) -> None:
        """Begin all copies anew. What a disk still holds of them is of no use: topics may have lost rows since."""
        for table in self._tables:
            table.state.discard("")
            table.forget_orders()
            table.take_counts()
        self._counts.clear()

    async def begin(
        self, log: Log, committed: Mapping[TopicPartition, Committed], *, orders_since_ms: int | None = None
    ) -> None:
        """Stand at the beginning of all topics; of the control topic, at the first record that may be as new as that,
        or that is not counted. `committed`: of `counting`. Raises OffsetOutOfRange.
        """
        for at in self._of:
            start, end = await log.offsets(at)
            self.positions[at] = self._counted[at] = start
            if at in committed:
                self._counted[at] = max(start, committed[at].offset)
                if committed[at].offset > end:
                    raise OffsetOutOfRange(
                        f"global table: {at} ends at {end}, and this workflow has read it up to "
                        f"{committed[at].offset}: the topic was made anew.",
                        mend="Restore the topic, or start the workflow from the beginning with `streamflow reset`.",
                    )
            if at.topic == self._control and orders_since_ms is not None:
                found = await log.offset_for_time(at, orders_since_ms)
                begins = end if found is None else min(found, end)
                self.positions[at] = max(start, min(begins, self._counted[at]) if at in self.counting else begins)

    def parts(self, at: TopicPartition, end: int) -> Iterator[tuple[int, bool]]:
        """Ends of the steps in which `at` is read on up to `end`, and whether this task counts what they read."""
        counted = self._counted[at] if at in self.counting else end
        if self.positions[at] < counted:
            yield min(counted, end), False
        if counted < end:
            yield end, True

    def step(
        self, at: TopicPartition, batches: Sequence[RecordBatch], *, limit: int, now_ms: int, counted: bool
    ) -> Stepped:
        """Take records from the position on up to offset `limit` in; then the copy has them. Raises StateBroken."""
        table = self._of[at]
        arrived = table.arrived(at, batches, first=self.positions[at], now_ms=now_ms).split(limit)[0]
        done = table.step([arrived], now_ms=now_ms)
        counts = table.take_counts()
        if counted and done.stop is not None:
            return done
        for store in table.stores.values():
            store.commit(store.changelog_offset + 1)
        self.positions[at] = arrived.end_offset
        if counted:
            self._counted[at] = arrived.end_offset
            for node, count in counts.items():
                _add(self._counts.setdefault(node, NodeCounts()), count)
        return done

    def offsets(self) -> dict[TopicPartition, Committed]:
        """What the group is to keep: how far this task has counted."""
        return {at: Committed(self._counted[at], "") for at in self.counting}

    def take_counts(self) -> dict[str, NodeCounts]:
        """Counts of counted rows since the last call."""
        counts, self._counts = self._counts, {}
        return counts


def _add(total: NodeCounts, more: NodeCounts) -> None:
    for each in fields(NodeCounts):
        if each.name != "ports":
            setattr(total, each.name, getattr(total, each.name) + getattr(more, each.name))
    for port, rows in more.ports.items():
        total.ports[port] = total.ports.get(port, 0) + rows
