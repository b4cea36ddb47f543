"""What a task goes on from is found again, and metadata that is not ours is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.committed import agreed, last_record, link, linked
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import RecordBatch, TopicSpec
from streamflow.testing.faulty_log import FaultyLog

AT = TopicPartition("journal", 0)


@pytest.mark.parametrize("number", [0, 1, 2**62])
def test_an_offset_names_its_journal_record(number: int) -> None:
    assert linked(AT, Committed(5, link(number))) == number
    assert linked(AT, None) == 0


@pytest.mark.parametrize("metadata", ["{}", "-1", "1.5", " 1", "x" * 4096])
def test_metadata_of_another_program_is_refused(metadata: str) -> None:
    with pytest.raises(StateError, match="journal/0") as error:
        linked(AT, Committed(5, metadata))
    assert len(str(error.value)) < 500


def test_the_inputs_of_a_task_name_one_commit() -> None:
    assert (agreed([]), agreed([0, 0]), agreed([0, 7, 7])) == (0, 0, 7)
    with pytest.raises(StateError, match=r"\[6, 7\]"):
        agreed([6, 0, 7])


class Gapped(FaultyLog):
    """A log whose last offsets hold nothing that is handed out: transaction markers, or what was aborted."""

    def __init__(self, inner: EmbeddedLog, gap: int) -> None:
        super().__init__(inner, [])
        self._gap = gap

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        start, end = await self.inner.offsets(at)
        return start, end + self._gap

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        _, end = await self.inner.offsets(at)
        return await self.inner.read(at, min(offset, end), size_bytes_max=size_bytes_max)


@pytest.mark.parametrize("gap", [0, 1, 4, 300])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_the_last_record_is_found_behind_any_gap(count: int, gap: int, tmp_path: Path) -> None:
    async def once() -> None:
        log = EmbeddedLog(tmp_path / "log")
        await log.open()
        await log.create_topic(TopicSpec(name="journal"))
        producer = await log.producer("p")
        for n in range(count):
            await producer.begin()
            await producer.append(AT, [from_records([Record(0, n, None, b"%d" % n, [])])])
            await producer.commit()
        found = await last_record(Gapped(log, gap), AT)
        assert (None if found is None else found.value) == (b"%d" % (count - 1) if count else None)
        await producer.close()
        await log.close()

    asyncio.run(once())
