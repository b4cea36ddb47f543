"""Opening a damaged log: what is cut, what is refused; refusing changes nothing and names a way out that works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs import EmbeddedLog
from streamflow.logs.embedded.frame import decode_header
from streamflow.logs.embedded.journal import FIRST_FRAME_AT, Journal
from streamflow.logs.embedded.layout import Layout
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt
from streamflow.sdk.log import TopicSpec
from streamflow.testing.log_steps import batch, opened, put, values

AT = TopicPartition("t", 0)
COUNT = 5


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of a log with COUNT commits; frames 0 and 1 make the topic and the producer."""

    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, compression="none")
        async with opened(log):
            await log.create_topic(TopicSpec(name="t"))
            producer = await log.producer("p")
            for n in range(COUNT):
                await put(producer, AT, batch(f"{n}"))

    asyncio.run(scenario())
    return tmp_path / "journal" / f"{1:020d}.journal"


def frames(path: Path) -> list[bytes]:
    """The frames of a sound journal as bytes."""
    salt = Journal(Layout(path.parent.parent), 1).salt
    data, at, found = path.read_bytes(), FIRST_FRAME_AT, []
    while at < len(data):
        header = decode_header(data, at, salt=salt)
        assert header is not None
        found.append(data[at : at + header.size_bytes])
        at += header.size_bytes
    assert len(found) == COUNT + 2
    return found


def rewrite(path: Path, parts: list[bytes]) -> None:
    path.write_bytes(path.read_bytes()[:FIRST_FRAME_AT] + b"".join(parts))


def content(folder: Path) -> list[str]:
    async def scenario() -> list[str]:
        log = EmbeddedLog(folder)
        async with opened(log):
            return await values(log, AT)

    return asyncio.run(scenario())


def without_head(journal: Path) -> None:
    (journal.parent.parent / "head").unlink()


@pytest.mark.parametrize("change", ["lost", "doubled", "exchanged"])
def test_frames_that_are_whole_but_misplaced_are_refused(journal: Path, change: str) -> None:
    parts = frames(journal)
    if change == "lost":
        del parts[3]
    elif change == "doubled":
        parts.insert(3, parts[3])
    else:
        parts[3], parts[4] = parts[4], parts[3]
    rewrite(journal, parts)
    without_head(journal)
    with pytest.raises(LogCorrupt, match="where frame"):
        content(journal.parent.parent)


def test_frames_of_another_history_are_cut_or_refused_but_never_read(journal: Path) -> None:
    """A frame with the right number whose predecessor is another: the chain notices."""
    parts = frames(journal)
    folder = journal.parent.parent
    rewrite(journal, parts[:-2])
    without_head(journal)

    async def another_history() -> None:
        log = EmbeddedLog(folder, compression="none")
        async with opened(log):
            await log.create_topic(TopicSpec(name="u"))

    asyncio.run(another_history())
    journal.write_bytes(journal.read_bytes() + parts[-1])
    without_head(journal)
    assert content(folder) == ["0", "1", "2"]


def test_a_torn_frame_is_cut_wherever_it_ends(journal: Path) -> None:
    parts = frames(journal)
    for kept in range(len(parts[-1])):
        rewrite(journal, [*parts[:-1], parts[-1][:kept]])
        without_head(journal)
        assert content(journal.parent.parent) == [f"{n}" for n in range(COUNT - 1)]
        assert journal.stat().st_size == FIRST_FRAME_AT + sum(map(len, parts[:-1]))


def test_a_last_frame_whose_data_never_reached_the_disk_is_cut(journal: Path) -> None:
    """After a power loss the file may have its length and zeros where the record batch was."""
    parts = frames(journal)
    rewrite(journal, [*parts[:-1], parts[-1][:-30] + bytes(30)])
    without_head(journal)
    assert content(journal.parent.parent) == [f"{n}" for n in range(COUNT - 1)]


@pytest.mark.parametrize("at_frame", [2, 4, COUNT + 1])
def test_refusing_changes_nothing_and_the_mend_it_names_works(journal: Path, at_frame: int) -> None:
    parts = frames(journal)
    damaged = bytearray(parts[at_frame])
    damaged[-1] ^= 1
    rewrite(journal, [*parts[:at_frame], bytes(damaged), *parts[at_frame + 1 :]])
    before = journal.read_bytes()
    place = FIRST_FRAME_AT + sum(map(len, parts[:at_frame]))
    for _ in range(2):
        with pytest.raises(LogCorrupt, match=f"at byte {place}") as refused:
            content(journal.parent.parent)
        assert journal.read_bytes() == before
    assert f"truncate -s {place}" in refused.value.mend
    with journal.open("r+b") as file:
        file.truncate(place)
    without_head(journal)
    assert content(journal.parent.parent) == [f"{n}" for n in range(at_frame - 2)]


def test_a_version_of_tomorrow_is_refused(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    data[8] = 9
    journal.write_bytes(data)
    with pytest.raises(LogCorrupt, match="no journal header"):  # the header's own check comes first
        content(journal.parent.parent)


def test_a_journal_of_another_log_is_refused(journal: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    asyncio.run(EmbeddedLog(other).open())
    (other / "journal" / journal.name).write_bytes(journal.read_bytes())
    with pytest.raises(LogCorrupt, match="does not continue"):
        content(other)
