"""Leaders and coordinators move, brokers go away: who is asked again, who is not, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.logs.kafka.codes import Code
from streamflow.logs.kafka.positions import Offsets
from streamflow.logs.kafka.producer import KafkaProducer
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.session import Session
from streamflow.logs.kafka.settled import Settled
from streamflow.logs.kafka.topics import Topics
from streamflow.logs.kafka.wire import MAIN, Slot
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError, LogUnavailable, TopicExists, UnknownTopic
from streamflow.sdk.log import TopicSpec
from tests.unit.kafka.fake_wire import AT, FakeWire, cluster

BATCH = from_records([Record(0, 1, b"k", b"v", [])])
LOST = Unanswered("the connection broke", sent=True)
NOT_SENT = Unanswered("no connection", sent=False)


def run(scenario: Callable[[FakeWire], Awaitable[None]]) -> None:
    async def body() -> None:
        await scenario(FakeWire())

    asyncio.run(asyncio.wait_for(body(), 60))


async def producer(wire: FakeWire, retry_ms: int = 60_000) -> KafkaProducer:
    parts = cluster(wire, retry_ms)
    session = Session(parts, "id", timeout_ms=60_000, request_timeout_ms=1_000, slot="p")
    await session.begin()
    return KafkaProducer(parts, session, Settled(parts, Offsets(parts)), compression="none", bytes_max=1 << 20)


async def transact(made: KafkaProducer) -> None:
    await made.begin()
    await made.append(AT, [BATCH])
    await made.send_offsets("g", {AT: Committed(1)})


def test_offsets_are_asked_of_the_new_leader() -> None:
    async def scenario(wire: FakeWire) -> None:
        wire.will("Offset", Code.NOT_LEADER_OR_FOLLOWER)
        wire.leaders_fresh, wire.end = {AT: 2}, 5
        assert await Offsets(cluster(wire)).end(AT) == 5
        assert wire.requests("Offset") == [1, 2]

    run(scenario)


def test_a_partition_without_a_leader_is_waited_for() -> None:
    async def scenario(wire: FakeWire) -> None:
        wire.leaders, wire.leaders_fresh = {AT: -1}, {AT: 2}
        assert await Offsets(cluster(wire)).start(AT) == 0
        assert wire.requests("Offset") == [2]

    run(scenario)


def test_a_topic_is_unknown_only_when_brokers_say_so() -> None:
    async def scenario(wire: FakeWire) -> None:
        nowhere = TopicPartition("nowhere", 0)
        with pytest.raises(UnknownTopic, match="nowhere"):
            await Offsets(cluster(wire)).end(nowhere)
        assert wire.refreshes > 1
        wire.reachable = False
        with pytest.raises(LogUnavailable, match="no broker gives the metadata"):
            await Offsets(cluster(wire, retry_ms=50)).end(nowhere)

    run(scenario)


def test_giving_up_names_the_broker_and_the_time() -> None:
    async def scenario(wire: FakeWire) -> None:
        wire.reachable = False
        with pytest.raises(LogUnavailable, match=r"offsets of t/0: given up after 0\.\d s: no connection to broker 1"):
            await Offsets(cluster(wire, retry_ms=50)).end(AT)
        assert len(wire.requests("Offset")) > 1

    run(scenario)


def test_a_commit_follows_leader_and_coordinator() -> None:
    async def scenario(wire: FakeWire) -> None:
        made = await producer(wire)
        await transact(made)
        wire.leaders_fresh, wire.end = {AT: 2}, 10
        wire.will("Produce", Code.NOT_LEADER_OR_FOLLOWER, Code.NOT_ENOUGH_REPLICAS, LOST, NOT_SENT)
        wire.will("AddPartitionsToTxn", Code.CONCURRENT_TRANSACTIONS, Code.COORDINATOR_LOAD_IN_PROGRESS)
        wire.will("TxnOffsetCommit", Code.NOT_COORDINATOR)
        wire.will("EndTxn", Code.COORDINATOR_NOT_AVAILABLE, NOT_SENT)
        wire.coordinator_now = 2
        assert await made.commit() == {AT: 11}
        assert wire.requests("Produce") == [1, 2, 2, 2, 2]
        assert wire.requests("EndTxn") == [2, 2, 2]

    run(scenario)


@pytest.mark.parametrize("request_", ["AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn"])
@pytest.mark.parametrize(
    "answer",
    [
        LOST,
        Code.UNKNOWN_SERVER_ERROR,
        Code.INVALID_TXN_STATE,
        Code.INVALID_PRODUCER_ID_MAPPING,
        Code.TRANSACTION_ABORTABLE,
    ],
)
def test_a_request_without_an_answer_is_never_repeated(request_: str, answer: Code | Unanswered) -> None:
    """And its producer is of no more use, for whatever it is asked."""

    async def scenario(wire: FakeWire) -> None:
        made = await producer(wire)
        await transact(made)
        wire.will(request_, answer)
        with pytest.raises(CommitUnknown, match="new producer"):
            await made.commit()
        assert len(wire.requests(request_)) == 1
        before = len(wire.asked)
        await made.abort()
        with pytest.raises(CommitUnknown):
            await made.begin()
        await made.close()
        assert len(wire.asked) == before

    run(scenario)


@pytest.mark.parametrize("request_", ["AddPartitionsToTxn", "AddOffsetsToTxn", "Produce", "TxnOffsetCommit", "EndTxn"])
@pytest.mark.parametrize("answer", [Code.INVALID_PRODUCER_EPOCH, Code.PRODUCER_FENCED])
def test_a_fenced_producer_says_so_ever_after(request_: str, answer: Code) -> None:
    async def scenario(wire: FakeWire) -> None:
        made = await producer(wire)
        await transact(made)
        wire.will(request_, answer)
        for call in (made.commit, made.begin, made.commit):
            with pytest.raises(Fenced, match="replaced by a newer one"):
                await call()
        await made.abort()

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Code.MESSAGE_TOO_LARGE, "max.message.bytes"),
        (Code.INVALID_TIMESTAMP, "message.timestamp"),
        (Code.INVALID_RECORD, "without a key"),
        (Code.TOPIC_AUTHORIZATION_FAILED, "ACL"),
    ],
)
def test_what_a_broker_refuses_is_aborted_and_the_producer_goes_on(answer: Code, says: str) -> None:
    """Its sequence numbers too: those of the refused batch are used again."""

    async def scenario(wire: FakeWire) -> None:
        made = await producer(wire)
        await transact(made)
        wire.will("Produce", answer)
        with pytest.raises(LogError, match=says):
            await made.commit()
        await made.abort()
        assert wire.requests("EndTxn") == [1]
        await transact(made)
        assert await made.commit() == {AT: 1}
        assert made._sequences == {AT: 1}

    run(scenario)


def test_a_new_producer_waits_for_what_the_old_one_left() -> None:
    async def scenario(wire: FakeWire) -> None:
        wire.will(
            "InitProducerId", Code.CONCURRENT_TRANSACTIONS, LOST, Code.PRODUCER_FENCED, Code.UNKNOWN_SERVER_ERROR,
            Code.CONCURRENT_TRANSACTIONS,
        )  # fmt: skip
        await producer(wire)
        assert len(wire.requests("InitProducerId")) == 6

    run(scenario)


def test_a_commit_whose_caller_goes_away_ends_before_the_next_begins() -> None:
    async def scenario(wire: FakeWire) -> None:
        made = await producer(wire)
        await transact(made)
        commit = asyncio.create_task(made.commit())
        await asyncio.sleep(0)
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)
        await made.begin()
        assert len(wire.requests("EndTxn")) == 1
        await made.abort()

    run(scenario)


@pytest.mark.parametrize("detail", ["All brokers are currently fenced.", "Only 1 broker(s) are registered."])
def test_a_topic_is_made_when_the_brokers_are_not_fenced_any_more(detail: str) -> None:
    """Who has just started is fenced for a moment; a factor that no cluster has is refused at once."""

    async def scenario(wire: FakeWire) -> None:
        answers = [(Code.INVALID_REPLICATION_FACTOR, detail)] * 2

        async def call(node: int, request: Any, slot: Slot = MAIN) -> Any:
            wire.asked.append((type(request).__name__, node, slot))
            code, said = answers.pop() if answers else (Code.TOPIC_ALREADY_EXISTS, "")
            return SimpleNamespace(topic_errors=[("t", code, said)])

        wire.call = call  # type: ignore[method-assign]
        wire.controller = lambda: 1  # type: ignore[attr-defined]
        topics = Topics(cluster(wire), timeout_ms=1_000, replication_factor=None)
        fenced = "fenced" in detail
        with pytest.raises(TopicExists if fenced else LogError) as caught:
            await topics.create(TopicSpec(name="t"))
        assert len(wire.asked) == (3 if fenced else 1)
        assert fenced or "INVALID_REPLICATION_FACTOR" in str(caught.value)

    run(scenario)
