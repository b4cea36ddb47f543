"""FaultyLog fails where it is told to, in the way it is told to, and passes everything else on."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.logs import EmbeddedLog
from streamflow.sdk.errors import CommitUnknown, Fenced, LogFull, UsageError
from streamflow.sdk.log import Log
from streamflow.testing.faulty_log import Fault, FaultyLog, seeded_faults
from streamflow.testing.log_conformance import LogConformance
from streamflow.testing.log_steps import MakeLog, batch, new_topic, put, run, values


class TestAFaultyLogWithoutFaultsIsALog(LogConformance):
    @pytest.fixture
    def make_log(self, tmp_path: Path) -> MakeLog:
        return lambda: FaultyLog(EmbeddedLog(tmp_path), [])


@pytest.mark.parametrize(
    ("fault", "error", "kept"),
    [
        (Fault("commit", 2, "unknown_before"), CommitUnknown, ["1", "3"]),
        (Fault("commit", 2, "unknown_after"), CommitUnknown, ["1", "2", "3"]),
        (Fault("commit", 2, "log_full"), LogFull, ["1", "3"]),
        (Fault("commit", 2, "fenced"), Fenced, ["1", "3"]),
        (Fault("append", 2, "log_full"), LogFull, ["1", "3"]),
        (Fault("begin", 2, "fenced"), Fenced, ["1", "3"]),
    ],
)
def test_a_fault_at_the_second_call(tmp_path: Path, fault: Fault, error: type[Exception], kept: list[str]) -> None:
    async def scenario(_: Log) -> None:
        log = FaultyLog(EmbeddedLog(tmp_path), [fault])
        await log.open()
        at = await new_topic(log)
        producer = await log.producer("p")
        await put(producer, at, batch("1"))
        with pytest.raises(error):
            await put(producer, at, batch("2"))
        assert log.fired == [fault]
        await producer.abort()
        if error is not LogFull:
            with pytest.raises((Fenced, UsageError)):
                await producer.begin()
            producer = await log.producer("p")
        await put(producer, at, batch("3"))
        assert await values(log, at) == kept
        await log.close()

    run(lambda: EmbeddedLog(tmp_path / "unused"), scenario)


def test_slow_calls_work(tmp_path: Path) -> None:
    async def scenario(log: Log) -> None:
        at = await new_topic(log)
        await put(await log.producer("p"), at, batch("1"))
        assert await values(log, at) == ["1"]

    faults = [Fault("commit", 1, "slow"), Fault("read", 1, "slow")]
    run(lambda: FaultyLog(EmbeddedLog(tmp_path), faults), scenario)


def test_seeds_repeat_and_impossible_faults_are_refused() -> None:
    assert seeded_faults(7, count=20, nth_max=50) == seeded_faults(7, count=20, nth_max=50)
    assert seeded_faults(7, count=20, nth_max=50) != seeded_faults(8, count=20, nth_max=50)
    with pytest.raises(UsageError):
        Fault("read", 1, "unknown_after")
    with pytest.raises(UsageError):
        Fault("read", 1, "fenced")
