"""Reads records of executions off the log: all of one, or the newest executions in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import polars as pl

from streamflow.codecs import decoder
from streamflow.model.positions import TopicPartition
from streamflow.operators.partition import partition_for
from streamflow.runtime.again_log import again_topic, read_again
from streamflow.runtime.again_records import Again
from streamflow.runtime.execution_context import place_of
from streamflow.runtime.execution_states import CONTEXT, Reach, States, decode_records, fold, statuses
from streamflow.runtime.execution_tails import SPEC
from streamflow.sdk.log import Log
from streamflow.topology.plan import StagePlan, Topology

_READ_BYTES = 4 << 20
_DETAILS = ("samples", "nodes")  # what no status rests on
_LISTED = decoder(SPEC, reserved=(), columns=[f.name for f in SPEC.schema.fields if f.name not in _DETAILS])


def executions_topic(topology: Topology) -> str:
    """The topic of a workflow whose executions leave records; "" of others."""
    return next((t.name for t in topology.topics if t.kind == "executions"), "")


async def records_of(log: Log, topology: Topology, execution: str) -> pl.DataFrame | None:
    """All records of one execution, in order; None if there is none. Reads the one partition in which they are."""
    topic = executions_topic(topology)
    info = (await log.topics()).get(topic)
    if info is None:
        return None
    (partition,) = partition_for(pl.Series([execution.encode()], dtype=pl.Binary), info.partitions).tolist()
    at, found = TopicPartition(topic, partition), []
    position, end = await log.offsets(at)
    while position < end and (batches := await log.read(at, position, size_bytes_max=_READ_BYTES)):
        for batch in batches:
            rows = decode_records([batch], first_offset=position).filter(pl.col("execution") == execution)
            if rows.height:
                found.append(rows)
        position = batches[-1].last_offset + 1
    return pl.concat(found) if found else None


async def standing(log: Log, topology: Topology, executions: Sequence[str]) -> dict[str, str]:
    """How some executions stand; those without records are left out. Reads their partitions once."""
    topic = executions_topic(topology)
    info = (await log.topics()).get(topic)
    if info is None:
        return {}
    reach, found = Reach.of(topology), dict[str, str]()
    ids = pl.Series(executions, dtype=pl.String)
    places = partition_for(ids.cast(pl.Binary), info.partitions)
    for partition in sorted(set(places.tolist())):
        mine, states = ids.filter(pl.Series(places == partition)), States.none()
        async for page in _pages(log, TopicPartition(topic, partition)):
            rows = page.filter(pl.col("execution").is_in(mine.implode()))
            if rows.height:
                states = fold(states, rows, reach)
        found |= dict(statuses(states, reach).select("execution", "status").iter_rows())
    return found


class Newest:
    """The newest executions of a topic, of whose settled ones only some are held: memory depends on how many are held
    and how many are open, not on how long the topic is.
    """

    def __init__(
        self, reach: Reach, *, status: str, since_ms: int | None, most: int, resumed: Collection[str] = (),
        context: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`status`: only those; "" takes all. `since_ms`: only those with a record since then. `resumed`: executions
        that may go on after they failed: these are held as well. `context`: only those with these values, by name.
        """
        self._context = context or {}
        self._resumed = pl.Series(list(resumed), dtype=pl.String)
        self._reach, self._status, self._since_ms, self._most = reach, status, since_ms, most
        self.totals: Counter[str] = Counter()  # of all executions by status; one that was woken counts once more
        self._done: list[pl.DataFrame] = []

    async def read(self, log: Log, topic: str, partitions: int) -> None:
        """Partition after partition: all records of an execution are in one."""
        for partition in range(partitions):
            states = States.none()
            async for page in _pages(log, TopicPartition(topic, partition)):
                states = fold(states, page, self._reach)
                states = self._without_settled(states)
            self._take(statuses(states, self._reach))

    def rows(self) -> pl.DataFrame:
        """The executions held, the newest last; columns as of `statuses`."""
        rows = pl.concat([statuses(States.none(), self._reach), *self._done])
        if rows["execution"].is_duplicated().any():  # woken after it was settled and let go: its last status counts
            first = pl.col("trigger").filter(pl.col("trigger") != "").first().fill_null("")
            errors = [c for c in rows.columns if c.startswith("error_") or c in CONTEXT]
            rows = rows.group_by("execution", maintain_order=True).agg(
                pl.col("status", "settled").last(), first, pl.col("records").sum(), pl.col("began_ms").min(),
                pl.col("last_ms").max(), *(pl.col(c).drop_nulls().first() for c in errors),
            )  # fmt: skip
        return rows.sort("last_ms", "began_ms", "execution", maintain_order=True).tail(self._most)

    def _without_settled(self, states: States) -> States:
        """Only what is open yet."""
        stand = statuses(states, self._reach)
        if len(self._resumed):
            held = pl.col("execution").is_in(self._resumed.implode())
            stand = stand.with_columns((pl.col("settled") & ~held).alias("settled"))
        settled = stand.filter("settled")
        if settled.height:
            self._take(settled)
            states = states.only(stand.filter(~pl.col("settled"))["execution"])
        return states

    def _take(self, rows: pl.DataFrame) -> None:
        if self._since_ms is not None:
            rows = rows.filter(pl.col("last_ms") >= self._since_ms)
        if self._context:
            matches = pl.all_horizontal(pl.col(name) == value for name, value in self._context.items())
            held = pl.concat([rows["execution"].head(0), *(done["execution"] for done in self._done)])
            # What was woken later does not tell it once more.
            rows = rows.filter(matches.fill_null(False) | pl.col("execution").is_in(held.implode()))
        self.totals.update(dict(rows["status"].value_counts().iter_rows()))
        if self._status:
            rows = rows.filter(pl.col("status") == self._status)
        self._done.append(rows.tail(self._most) if self._ordered(rows) else rows.sort("last_ms").tail(self._most))
        if sum(map(len, self._done)) > 2 * self._most + 1_000:
            self._done = [self.rows()]

    @staticmethod
    def _ordered(rows: pl.DataFrame) -> bool:
        return rows["last_ms"].is_sorted()


async def _pages(log: Log, at: TopicPartition) -> AsyncIterator[pl.DataFrame]:
    position, end = await log.offsets(at)
    while position < end and (batches := await log.read(at, position, size_bytes_max=_READ_BYTES)):
        for batch in batches:  # one at a time: compressed, what was read may be far larger
            yield decode_records([batch], first_offset=position, reader=_LISTED)
        position = batches[-1].last_offset + 1


async def is_pending(log: Log, topology: Topology, execution: str) -> bool:
    """Whether an id is the place of a trigger item that no task has committed yet."""
    place = await _place(log, topology, execution)
    if place is None:
        return False
    stage, at, offset = place
    start, end = await log.offsets(at)
    known = (await log.committed(stage.group(topology.workflow), [at])).get(at)
    return (start if known is None else known.offset) <= offset < end


async def is_trigger_item(log: Log, topology: Topology, execution: str) -> bool:
    """Whether an id is the place of a trigger item that is on its topic, or was."""
    place = await _place(log, topology, execution)
    return place is not None and place[2] < (await log.offsets(place[1]))[1]


async def _place(log: Log, topology: Topology, execution: str) -> tuple[StagePlan, TopicPartition, int] | None:
    """Where an id says that its trigger item stands, and the stage that takes it; None: it names no such place."""
    found = await place_of(log, execution)
    if found is None:
        return None
    at, offset = found
    stage = _reader(topology, at.topic)
    if at.topic == again_topic(topology):
        record = await _retry_at(log, at, offset)
        stage = None if record is None else next((s for s in topology.stages if s.id == record.stage), None)
    return None if stage is None else (stage, at, offset)


async def _retry_at(log: Log, at: TopicPartition, offset: int) -> Again | None:
    """The retry that stands at an offset."""
    async for record in read_again(log, at, offset):
        return record if record.position == offset and record.action == "retry" else None
    return None


def _reader(topology: Topology, topic: str) -> StagePlan | None:
    """The first stage that reads a topic of a trigger."""
    return next((s for s in topology.stages if any(i.topic == topic for i in s.inputs)), None)
