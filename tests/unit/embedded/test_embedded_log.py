"""What is the embedded log's own: addresses, names, locks, limits, and a model it must agree with."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.logs import EmbeddedLog, open_log
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import Fenced, LogBusy, LogCorrupt, LogError, LogFull, UnknownTopic, UsageError
from streamflow.sdk.log import Log, NewBatch, TopicSpec
from streamflow.testing.log_steps import all_records, batch, new_topic, opened, put, run, values


def test_an_address_is_a_folder_and_others_are_explained() -> None:
    log = open_log("some/folder", durability="fsync")
    assert isinstance(log, EmbeddedLog)
    assert isinstance(log, Log)
    assert log.address == "some/folder"
    for address, says in (("http://x", "no log"), ("", "empty")):
        with pytest.raises(UsageError, match=says):
            open_log(address)
    with pytest.raises(UsageError, match="durability"):
        open_log("x", durability="maybe")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "ä", "x" * 250, "a b", "../../etc", "a\0b", "a\n"])
def test_bad_topic_names_are_refused(tmp_path: Path, name: str) -> None:
    async def scenario(log: Log) -> None:
        with pytest.raises(UsageError, match="not allowed"):
            await log.create_topic(TopicSpec(name=name))

    run(lambda: EmbeddedLog(tmp_path), scenario)


@pytest.mark.parametrize(
    "config",
    [{"cleanup.policy": "keep"}, {"retention.ms": "soon"}, {"retention.ms": "-2"}, {"compression.type": "rar"}],
)
def test_bad_settings_are_refused_and_unknown_ones_kept(tmp_path: Path, config: dict[str, str]) -> None:
    async def scenario(log: Log) -> None:
        with pytest.raises(UsageError, match=next(iter(config))):
            await log.create_topic(TopicSpec(name="t", config=config))
        info = await log.create_topic(TopicSpec(name="t", config={"min.insync.replicas": "2"}))
        assert info.config == {"min.insync.replicas": "2"}

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_partitions_are_bounded(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        await log.create_topic(TopicSpec(name="a", partitions=9_999))
        with pytest.raises(UsageError, match="10001 partitions"):
            await log.create_topic(TopicSpec(name="b", partitions=2))
        for wrong in (0, 10_001):
            with pytest.raises(UsageError, match="partitions"):
                await log.create_topic(TopicSpec(name="b", partitions=wrong))

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_a_named_lock_is_held_by_one_and_says_by_whom(tmp_path: Path) -> None:
    one, two = EmbeddedLog(tmp_path), EmbeddedLog(tmp_path)
    with one.lock("big-orders/ä"):
        with pytest.raises(LogBusy, match=f"process {os.getpid()} holds"), two.lock("big-orders/ä"):
            pass
        with two.lock("other"):
            pass
    with two.lock("big-orders/ä"):
        pass


def test_a_commit_waits_for_the_log_no_longer_than_it_was_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        one, two = EmbeddedLog(tmp_path), EmbeddedLog(tmp_path, lock_timeout_ms=1)
        async with opened(one, two):
            at = await new_topic(one)
            producer = await two.producer("p")
            core = one._need().core
            with core.locked(), pytest.raises(LogBusy, match="another process"):
                await put(producer, at, batch("a"))
            assert await producer.commit() == {at: 1}

    asyncio.run(scenario())


def test_a_closed_log_and_misused_producers_say_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path)
        with pytest.raises(LogError, match="not open"):
            await log.topics()
        async with opened(log):
            at = await new_topic(log)
            producer = await log.producer("p")
            with pytest.raises(UsageError, match="no open transaction"):
                await producer.commit()
            await producer.begin()
            with pytest.raises(UsageError, match="is open"):
                await producer.begin()
            for wrong in (Committed(-1), Committed(1, "x" * 5_000)):
                with pytest.raises(UsageError):
                    await producer.send_offsets("g", {at: wrong})
            with pytest.raises(UsageError, match="0 records"):
                await producer.append(at, [NewBatch(count=0, body=b"", base_timestamp_ms=0, max_timestamp_ms=0)])
            await producer.close()
            with pytest.raises(UsageError, match="closed"):
                await producer.begin()
            await log.open()  # open already: nothing happens
        await log.close()

    asyncio.run(scenario())


def test_a_transaction_is_bounded(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        await producer.begin()
        await producer.append(at, [batch("x" * 4_000)])
        with pytest.raises(LogFull, match="exceed 10000 bytes"):
            await producer.append(at, [batch("x" * 4_000)])
        await producer.abort()
        await put(producer, at, batch("y"))
        assert await values(log, at) == ["y"]

    run(lambda: EmbeddedLog(tmp_path, transaction_bytes_max=10_000), scenario)


def test_a_commit_whose_caller_was_cancelled_is_over_before_the_next_begins(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        for n in range(1, 10):  # turns of the event loop before the caller goes away
            await producer.begin()
            await producer.append(at, [batch(f"{n}")])
            commit = asyncio.create_task(producer.commit())
            for _ in range(n):
                await asyncio.sleep(0)
            commit.cancel()
            await asyncio.gather(commit, return_exceptions=True)
        await producer.abort()
        await put(producer, at, batch("last"))
        found = await values(log, at)
        assert found == sorted(set(found))
        assert found[-1] == "last"

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_a_topic_made_again_during_a_transaction_fails_the_commit(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        await producer.begin()
        await producer.append(at, [batch("old")])
        await log.delete_topic(at.topic)
        await log.create_topic(TopicSpec(name=at.topic))
        with pytest.raises(UnknownTopic, match="made again"):
            await producer.commit()
        await producer.abort()
        assert await log.offsets(at) == (0, 0)

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_forgotten_producers_are_fenced_and_never_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.logs.embedded.catalog.PRODUCERS_MAX", 2)

    async def scenario(log: Log) -> None:
        first = await log.producer("a")
        await log.producer("b")
        await log.producer("c")
        with pytest.raises(Fenced):
            await first.begin()
        await log.producer("a")
        with pytest.raises(Fenced):
            await first.begin()

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_what_compresses_beyond_measure_can_be_read_back(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        at = await new_topic(log, compression_type="zstd")
        await put(await log.producer("p"), at, from_records([Record(0, 0, None, bytes(20 << 20), [])]))
        (one,) = await log.read(at, 0, size_bytes_max=1)
        assert one.count == 1

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_a_missing_part_of_the_folder_is_refused(tmp_path: Path) -> None:
    async def make(folder: Path) -> None:
        log = EmbeddedLog(folder)
        async with opened(log):
            at = await new_topic(log)
            await put(await log.producer("p"), at, batch("a"))
            await log.checkpoint()
            await put(await log.producer("p"), at, batch("b"))

    def refused(folder: Path, says: str) -> None:
        with pytest.raises(LogCorrupt, match=says):
            asyncio.run(EmbeddedLog(folder).open())

    asyncio.run(make(tmp_path / "a"))
    (tmp_path / "a" / "snapshot").unlink()
    refused(tmp_path / "a", "snapshot is missing")
    asyncio.run(make(tmp_path / "b"))
    max((tmp_path / "b" / "journal").iterdir()).unlink()
    refused(tmp_path / "b", "journal .* is missing")


def test_a_commit_here_wakes_those_who_wait_here_without_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamflow.logs.embedded.log._POLL_S_MIN", 10_000)
    monkeypatch.setattr("streamflow.logs.embedded.log._POLL_S_MAX", 10_000)

    async def scenario(log: Log) -> None:
        at, other = await new_topic(log), await new_topic(log)
        producer = await log.producer("p")
        waiting = asyncio.create_task(log.wait({at: 0, other: 0}, timeout_ms=1_000_000))
        await asyncio.sleep(0)
        await put(producer, at, batch("a"))
        await waiting

    run(lambda: EmbeddedLog(tmp_path), scenario)


def test_reading_leaves_few_files_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=20_000)
        async with opened(log):
            at = await new_topic(log, segment_bytes="1")
            producer = await log.producer("p")
            await producer.begin()
            await producer.append(at, [batch(f"{n:04}") for n in range(600)])
            await producer.commit()
            await log.checkpoint()
            before = len(os.listdir("/proc/self/fd"))
            assert len(await values(log, at)) == 600
            assert len(os.listdir("/proc/self/fd")) - before <= 256

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(12))
def test_any_history_agrees_with_a_model(tmp_path: Path, seed: int) -> None:
    """Random commits, aborts, deletions, checkpoints and re-openings over two openings; lists are the model."""
    draw = random.Random(seed)
    partitions = [TopicPartition("t", n) for n in range(3)]
    model: dict[TopicPartition, list[str]] = {at: [] for at in partitions}
    starts = dict.fromkeys(partitions, 0)
    group: dict[TopicPartition, Committed] = {}

    def make() -> EmbeddedLog:
        return EmbeddedLog(tmp_path, journal_bytes_max=draw.choice([1, 600, 5_000, 1 << 26]))

    async def check(log: EmbeddedLog) -> None:
        for at in partitions:
            assert await log.offsets(at) == (starts[at], len(model[at]))
            start = draw.randint(starts[at], len(model[at]))
            found = await all_records(log, at, start)
            assert [(r.value or b"").decode() for r in found] == model[at][start:]
            assert [r.offset for r in found] == list(range(start, len(model[at])))
        assert await log.committed("g", partitions) == group

    async def scenario() -> None:
        logs = [make(), make()]
        for log in logs:
            await log.open()
        await logs[0].create_topic(TopicSpec(name="t", partitions=3, config={"segment.bytes": "900"}))
        for step in range(80):
            which = draw.randrange(2)
            log = logs[which]
            action = draw.choice(["commit"] * 6 + ["abort", "delete", "checkpoint", "reopen", "check", "check"])
            if action in ("commit", "abort"):
                producer = await log.producer(f"p{which}")
                await producer.begin()
                new: dict[TopicPartition, list[str]] = {}
                for _ in range(draw.randint(1, 4)):
                    at = draw.choice(partitions)
                    rows = [f"{step}.{n}" * draw.randint(1, 20) for n in range(draw.randint(1, 4))]
                    await producer.append(at, [batch(*rows)])
                    new.setdefault(at, []).extend(rows)
                position = Committed(step, action)
                await producer.send_offsets("g", {partitions[0]: position})
                if action == "abort":
                    await producer.abort()
                    continue
                ends = await producer.commit()
                for at, rows in new.items():
                    model[at] += rows
                    assert ends[at] == len(model[at])
                group[partitions[0]] = position
            elif action == "delete":
                at = draw.choice(partitions)
                before = draw.randint(0, len(model[at]))
                await log.delete_records(at, before)
                starts[at] = max(starts[at], before)
            elif action == "checkpoint":
                await log.checkpoint()
            elif action == "reopen":
                await log.close()
                logs[which] = make()
                await logs[which].open()
            else:
                await check(log)
        for log in logs:
            await check(log)
            await log.close()

    asyncio.run(scenario())
