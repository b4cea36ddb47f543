"""Redrives dead letters: their records go to their topics again, each at most once, whoever asks how often.

What was sent is remembered as committed positions of groups, in the transaction that sends: `<workflow>.redrive` for
all dead letters up to a number, `<workflow>.redrive.<node>` for those of one node. A letter is done if either position
is past it, or if it was given again to the node in which it failed (`executions resume`). The transactional id sees to
it that of two redrives at once the later one takes over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import polars as pl

from streamflow.cli.output import fail
from streamflow.codecs.records import Headers, Record, from_records
from streamflow.model.positions import Committed, TopicPartition
from streamflow.operators.partition import partition_of_executions
from streamflow.runtime.again_log import given_again
from streamflow.runtime.dead_letter_log import REDRIVEN as HEADER
from streamflow.runtime.dead_letter_log import pages
from streamflow.runtime.feeds import grown_marker
from streamflow.runtime.record_at import record_at

if TYPE_CHECKING:
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.log import Log, NewBatch, Producer, TopicInfo
    from streamflow.topology.plan import Topology

_BATCH_BYTES = 900_000


class Redrive:
    """One call. `sent` counts records, `undone` those of them whose steps were compensated, `without_record` letters of
    items that are on no topic.
    """

    def __init__(self, log: Log, topology: Topology, node: str | None) -> None:
        self._log, self._topology, self._node = log, topology, node
        self._group = f"{topology.workflow}.redrive"
        topic = next((t.name for t in topology.topics if t.kind == "dead_letter"), "")
        self._at = TopicPartition(topic, 0)
        self.sent = self.without_record = self.undone = 0
        # Stages in which items end that were undone: what did not fail in one of their own nodes did so before.
        self._undoing = {
            stage.id: {node.id for node in stage.nodes}
            for stage in topology.stages
            if any(node.kind == "compensated" for node in stage.nodes)
        }

    async def run(self, *, dry_run: bool) -> None:
        """Raises Fenced when another call takes over; leaves with 1 at a letter whose record cannot be sent."""
        # Before looking at what was sent: from here on no older call can send anything.
        producer = None if dry_run else await self._log.producer(self._group)
        try:
            everyone = await self._position(self._group)
            by_node: dict[str, int] = {}
            given = await given_again(self._log, self._topology)
            again = {r.letter for _, r in given if r.action in ("resume", "rollback")}
            begin = everyone if self._node is None else max(everyone, await self._position(self._of(self._node)))
            async for page in pages(self._log, self._topology, begin):
                todo = []
                for letter in page:
                    if self._node not in (None, letter.node):
                        continue
                    if letter.node not in by_node:
                        by_node[letter.node] = await self._position(self._of(letter.node))
                    if letter.position >= by_node[letter.node] and letter.position not in again:
                        todo.append(letter)
                await self._send(producer, todo, after=page[-1].position + 1 if page else begin)
        finally:
            if producer is not None:
                await producer.close()

    def _of(self, node: str) -> str:
        return f"{self._group}.{node}"

    async def _position(self, group: str) -> int:
        return (await self._log.committed(group, [self._at])).get(self._at, Committed(0)).offset

    async def _send(self, producer: Producer | None, letters: list[DeadLetter], *, after: int) -> None:
        """Send the records of some letters and remember that all before `after` are done, in one transaction."""
        by_place: dict[TopicPartition, list[Record]] = {}
        existing = await self._log.topics()
        count = 0
        for letter in letters:
            if not letter.topic:
                self.without_record += 1
                continue
            place = TopicPartition(letter.topic, letter.partition)
            if letter.topic not in existing or letter.partition >= existing[letter.topic].partitions:
                fail(
                    f"dead letter {letter.position}: there is no {place} any more; {self.sent} records were sent.",
                    mend="Make the topic as it was, or redrive other nodes with --node.",
                    sent=self.sent,
                )
            self.undone += letter.stage in self._undoing and letter.node not in self._undoing[letter.stage]
            key, value, headers = await self._original(letter)
            # One that was sent again before and failed again keeps its own headers only.
            headers = [*(h for h in headers if h[0] != HEADER), (HEADER, str(letter.position).encode())]
            by_place.setdefault(place, []).append(Record(0, letter.timestamp_ms, key, value, headers))
            count += 1
        if producer is not None:
            await producer.begin()
            for place, batch in self._coming([x for x in letters if x.topic], existing):
                await producer.append(place, [batch])
            for place, found in by_place.items():
                await producer.append(place, list(_batches(found)))
            for place, batch in self._there(letters):
                await producer.append(place, [batch])
            group = self._group if self._node is None else self._of(self._node)
            await producer.send_offsets(group, {self._at: Committed(after)})
            await producer.commit()
        self.sent += count

    def _coming(
        self, letters: list[DeadLetter], topics: Mapping[str, TopicInfo]
    ) -> Iterator[tuple[TopicPartition, NewBatch]]:
        """What gathers behind are told of rows that are on their way again (`runtime.feeds`)."""
        for stage in self._topology.stages:
            read = {i.topic: i.node for i in stage.inputs}
            for feed in stage.feeds:
                sent = [x.execution for x in letters if x.execution and read.get(x.topic) in feed.received]
                partitions = topics[feed.topic].partitions if sent else 1
                places = partition_of_executions(pl.Series(sent, dtype=pl.String), partitions)
                for execution, number in zip(sent, places, strict=True):
                    yield TopicPartition(feed.topic, int(number)), grown_marker([execution], [1], 0)

    def _there(self, letters: list[DeadLetter]) -> Iterator[tuple[TopicPartition, NewBatch]]:
        """Those that come to a gather itself: it is told that they are there."""
        topics = {feed.topic for stage in self._topology.stages for feed in stage.feeds}
        for letter in letters:
            if letter.topic in topics and letter.execution:
                yield TopicPartition(letter.topic, letter.partition), grown_marker([letter.execution], [0], 0)

    async def _original(self, letter: DeadLetter) -> tuple[bytes | None, bytes | None, Headers]:
        """Key, value and headers of the record. Those of a letter that was cut to fit, or whose item had waited,
        are on the topic it came from.
        """
        if not letter.cut and letter.item is None:
            return letter.key, letter.value, list(letter.headers)
        at = TopicPartition(letter.topic, letter.partition)
        found = await record_at(self._log, at, letter.offset)
        # The key of an item that had waited is the item's, which need not be the record's.
        fits = found is not None and _begins(found.value, letter.value)
        if found is not None and fits and (letter.item is not None or _begins(found.key, letter.key)):
            return found.key, found.value, found.headers
        why = "it was cut to fit" if letter.cut else "its item had waited"
        return fail(
            f"dead letter {letter.position}: {why}, and its record {at} offset {letter.offset} is gone.",
            mend="`dlq show` has what is left of it; redrive other nodes with --node.",
            sent=self.sent,
        )


def _begins(whole: bytes | None, part: bytes | None) -> bool:
    """Whether what a letter kept is the beginning of what the record has: the topic may have been made anew since."""
    return (whole or b"").startswith(part or b"")


def _batches(found: Iterable[Record]) -> Iterator[NewBatch]:
    """Record batches of bounded size, in order."""
    part: list[Record] = []
    size = 0
    for record in found:
        own = len(record.key or b"") + len(record.value or b"") + sum(len(k) + len(v or b"") for k, v in record.headers)
        if part and size + own > _BATCH_BYTES:
            yield from_records(part)
            part, size = [], 0
        part.append(record)
        size += own + 64
    if part:
        yield from_records(part)
