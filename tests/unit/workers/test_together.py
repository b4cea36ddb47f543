"""Several workflows in one process: how they end together, and what is known of one that ends alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from streamflow.sdk.errors import LogUnavailable
from streamflow.workers.progress import Progress, RunReport
from streamflow.workers.scheduler import Limits, Scheduler
from streamflow.workers.together import Outcome, Standing, Together
from streamflow.workers.worker import Worker


class Fake:
    """A worker that runs until it is stopped, or fails at once."""

    def __init__(self, *, fails: BaseException | None = None, away: int = 0) -> None:
        """`away`: so often nobody answers when it is asked whether it is at its end."""
        self.fails, self.away = fails, away
        self.stopped = asyncio.Event()

    async def prepare(self) -> None: ...

    async def run(self) -> RunReport:
        if self.fails is not None:
            raise self.fails
        await self.stopped.wait()
        return RunReport(progress=Progress(rows_in=7))

    def stop(self) -> None:
        self.stopped.set()

    def commits(self) -> int:
        return 0

    async def at_end(self) -> bool:
        self.away -= 1
        if self.away >= 0:
            raise LogUnavailable("nobody answers.")
        return True

    async def progress(self) -> Progress:
        return Progress()


def together(
    workers: dict[str, Fake],
    *,
    until_end: bool = False,
    on_progress: Callable[[Standing], None] | None = None,
    on_ended: Callable[[str, Outcome], None] | None = None,
) -> Together:
    made = {name: cast(Worker, worker) for name, worker in workers.items()}
    return Together(
        made, Scheduler(Limits(threads=1)), until_end=until_end, on_progress=on_progress, on_ended=on_ended,
        progress_interval_s=0.001,
    )  # fmt: skip


def test_they_end_at_the_end_though_nobody_answered_for_a_while() -> None:
    async def work() -> Standing:
        return await together({"a": Fake(away=3), "b": Fake()}, until_end=True).run()

    standing = asyncio.run(asyncio.wait_for(work(), 10))
    assert all(outcome.report is not None for outcome in standing.workflows.values())


def test_an_error_of_what_runs_beside_them_stops_all_and_is_raised() -> None:
    def show(standing: Standing) -> None:
        raise ZeroDivisionError("shown")

    async def work() -> None:
        workers = {"a": Fake(), "b": Fake()}
        with pytest.raises(ZeroDivisionError, match="shown"):
            await together(workers, on_progress=show).run()
        assert all(worker.stopped.is_set() for worker in workers.values()), "gracefully"

    asyncio.run(asyncio.wait_for(work(), 10))


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), LogUnavailable("nobody answers.")])
def test_one_that_fails_is_told_of_at_once_and_a_defect_raised_at_the_end(error: Exception) -> None:
    told: list[tuple[str, Exception | None]] = []

    async def work() -> None:
        good = Fake()

        def ended(name: str, outcome: Outcome) -> None:
            told.append((name, outcome.error))
            if name == "bad":
                assert not good.stopped.is_set(), "the others run on"
                good.stop()

        all_of_them = together({"good": good, "bad": Fake(fails=error)}, on_ended=ended)
        if isinstance(error, LogUnavailable):
            await all_of_them.run()
        else:
            with pytest.raises(ZeroDivisionError, match="a defect"):
                await all_of_them.run()
        assert all_of_them.standing().workflows["bad"].error is error

    asyncio.run(asyncio.wait_for(work(), 10))
    assert told == [("bad", error), ("good", None)]
