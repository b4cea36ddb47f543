"""Checkpoints, retention and compaction: what moves, what goes, what must stay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt, OffsetOutOfRange
from streamflow.sdk.log import NewBatch, TopicSpec
from streamflow.testing.log_steps import all_records, batch, new_topic, opened, put, values


def keyed(*pairs: tuple[str, str | None], time_ms: int = 0) -> NewBatch:
    rows = [Record(0, time_ms, k.encode(), v if v is None else v.encode(), []) for k, v in pairs]
    return from_records(rows)


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(p.name for p in folder.glob(pattern))


def test_a_checkpoint_moves_the_journal_to_segments_and_keeps_one_journal(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path)
        async with opened(log):
            at = await new_topic(log)
            producer = await log.producer("p")
            for n in range(4):
                await put(producer, at, batch(f"{n}"))
                await log.checkpoint()
                await log.checkpoint()  # nothing new: nothing happens
            assert len(names(tmp_path, "journal/*")) == 2
            assert names(tmp_path, "topics/*/*/0/*.log") == [f"{0:020d}.log"]
            assert await values(log, at) == ["0", "1", "2", "3"]

    asyncio.run(scenario())


def test_the_writer_makes_checkpoints_by_itself_and_others_keep_reading(tmp_path: Path) -> None:
    async def scenario() -> None:
        log, other = EmbeddedLog(tmp_path, journal_bytes_max=3_000), EmbeddedLog(tmp_path)
        async with opened(log, other):
            at = await new_topic(log, segment_bytes="2000")
            producer = await log.producer("p")
            for n in range(60):
                await put(producer, at, batch(f"{n:03}"))
                if n % 7 == 0:
                    assert await values(other, at, n) == [f"{n:03}"]
            assert await values(other, at) == [f"{n:03}" for n in range(60)]
        assert len(names(tmp_path, "topics/*/*/0/*.log")) > 1
        assert len(names(tmp_path, "journal/*")) == 2

    asyncio.run(scenario())


def test_retention_by_time_lets_whole_old_segments_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=1)
        async with opened(log):
            at = await new_topic(log, retention_ms="1000", segment_bytes="1")
            kept = await new_topic(log, segment_bytes="1")
            producer = await log.producer("p")
            for time_ms in (10**13, 10**13 + 500, 10**13 + 2_000):
                await put(producer, at, batch("a", time_ms=time_ms))
                await put(producer, kept, batch("a", time_ms=0))
            await log.run_maintenance(10**13 + 1_400)
            assert await log.offsets(at) == (1, 3)
            with pytest.raises(OffsetOutOfRange):
                await log.read(at, 0, size_bytes_max=1)
            assert len(await values(log, at)) == 2
            await log.run_maintenance(10**13 + 9_000)
            assert await log.offsets(at) == (3, 3)
            assert await log.offsets(kept) == (0, 3)
            await put(producer, at, batch("b", time_ms=10**14))
            assert await values(log, at) == ["b"]
        assert len(names(tmp_path, f"topics/{at.topic}/*/0/*.log")) == 1
        again = EmbeddedLog(tmp_path)
        async with opened(again):
            assert await again.offsets(at) == (3, 4)

    asyncio.run(scenario())


def test_retention_by_size_keeps_at_least_what_was_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=1, compression="none")
        async with opened(log):
            at = await new_topic(log, retention_bytes="5000", segment_bytes="1")
            producer = await log.producer("p")
            for _ in range(10):
                await put(producer, at, batch("x" * 1_000))  # each more than 1,000, less than 2,200 bytes
            await log.run_maintenance(0)
            start, end = await log.offsets(at)
            assert end == 10
            assert 3 <= end - start <= 5

    asyncio.run(scenario())


def test_deleted_records_free_their_segments_and_a_deleted_topic_its_folder(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=1)
        async with opened(log):
            at = await new_topic(log, segment_bytes="1")
            producer = await log.producer("p")
            for n in range(4):
                await put(producer, at, batch(f"{n}"))
            await log.delete_records(at, 2)
            await log.checkpoint()
            found = names(tmp_path, f"topics/{at.topic}/*/0/*.log")
            assert found == [f"{2:020d}.log", f"{3:020d}.log"]
            assert await values(log, at) == ["2", "3"]
            await log.delete_topic(at.topic)
            assert names(tmp_path, f"topics/{at.topic}*") == []

    asyncio.run(scenario())


def test_compaction_follows_the_rules_for_nulls_and_tombstones(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=1)
        spec = {"cleanup.policy": "compact", "segment.bytes": "1", "delete.retention.ms": "100"}
        at = TopicPartition("c", 0)
        async with opened(log):
            await log.create_topic(TopicSpec(name="c", config=spec))
            producer = await log.producer("p")
            await put(producer, at, keyed(("a", "1"), ("b", "1"), ("c", "1")))
            await put(producer, at, from_records([Record(0, 0, None, b"no key", [])]))
            await put(producer, at, keyed(("a", "2"), ("b", None)))
            await put(producer, at, keyed(("a", "3")))  # the active segment is not looked at
            await log.run_maintenance(1_000)
            assert [(r.offset, r.key, r.value) for r in await all_records(log, at)] == [
                (2, b"c", b"1"),
                (3, None, b"no key"),
                (4, b"a", b"2"),
                (5, b"b", None),
                (6, b"a", b"3"),
            ]
            await log.run_maintenance(1_050)
            assert b"b" in [r.key for r in await all_records(log, at)]
            await log.run_maintenance(1_100)
            assert [r.offset for r in await all_records(log, at)] == [2, 3, 4, 6]
            for offset in range(7):  # reading may start in a gap
                assert [r.offset for r in await all_records(log, at, offset)] == [
                    o for o in (2, 3, 4, 6) if o >= offset
                ]
            files = names(tmp_path, "topics/c/*/0/*")
            await log.run_maintenance(9_000)
            assert names(tmp_path, "topics/c/*/0/*") == files  # nothing left to gain
        again = EmbeddedLog(tmp_path)
        async with opened(again):
            assert [r.offset for r in await all_records(again, at)] == [2, 3, 4, 6]

    asyncio.run(scenario())


def test_compaction_agrees_with_a_table_while_commits_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=2_000)
        async with opened(log):
            at = await new_topic(log, cleanup_policy="compact", segment_bytes="1500", delete_retention_ms="0")
            producer = await log.producer("p")
            table: dict[str, str | None] = {}
            for n in range(120):
                pairs = [(f"k{(n * 7 + i * 3) % 11}", None if (n + i) % 5 == 0 else f"{n}.{i}") for i in range(4)]
                table |= dict(pairs)
                upkeep = asyncio.create_task(log.run_maintenance(n)) if n % 20 == 0 else None
                await put(producer, at, keyed(*pairs))
                if upkeep is not None:
                    await upkeep
            for now_ms in (1_000, 2_000, 3_000):
                await log.run_maintenance(now_ms)
            found: dict[str, str | None] = {}
            records = await all_records(log, at)
            for r in records:
                found[(r.key or b"").decode()] = None if r.value is None else r.value.decode()
            assert {k: v for k, v in found.items() if v is not None} == {
                k: v for k, v in table.items() if v is not None
            }
            assert len(records) < 150
            assert await log.offsets(at) == (0, 480)

    asyncio.run(scenario())


def test_compaction_refuses_a_damaged_segment_and_clears_up_after_an_interrupted_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, journal_bytes_max=1)
        async with opened(log):
            at = await new_topic(log, cleanup_policy="compact", segment_bytes="1")
            producer = await log.producer("p")
            for n in range(3):
                await put(producer, at, keyed(("a", f"{n}")))
            info = (await log.topics())[at.topic]
            first = tmp_path / "topics" / at.topic / info.incarnation / "0" / f"{0:020d}.log"
            left = first.with_name(f"{0:020d}.c-0123456789ab.log")
            left.write_bytes(b"half")
            good = first.read_bytes()
            first.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
            with pytest.raises(LogCorrupt, match=str(first)):
                await log.run_maintenance(0)
            first.write_bytes(good)
            await log.run_maintenance(0)
            assert not left.exists()
            assert await values(log, at) == ["1", "2"]

    asyncio.run(scenario())
