"""The examples flights-* against DuckDB over some days of the data, however their input is cut into commits.

`python topologies/flights-…/compare.py` does the same over the whole year.
"""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest

from streamflow.runtime import source_task
from tests.simulation.running import compiled, run, with_log
from topologies import nycflights

ROOT = Path(nycflights.__file__).parent
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("flights-*/compare.py"))
# Over a change of month, so that there are two files, and one of the clocks: on 10 March 02:00 was 03:00.
DAYS = frozenset({(2, 28), (3, 1), (3, 9), (3, 10), (3, 11)})


@pytest.mark.parametrize("rows_max", [50_000, 300])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_duckdb_gives(
    example: str, rows_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_task, "_ROWS_MAX", rows_max)
    workflow = nycflights.prepare(ROOT / example, tmp_path / example, days=DAYS)
    plan = compiled(workflow.read_text(), workflow.parent)

    async def finished(log: Any) -> None:
        report = await run(plan, log)
        assert report.halted is None
        assert report.progress.dead == 0

    asyncio.run(with_log(tmp_path / "log", finished))
    questions: nycflights.Questions = runpy.run_path(str(ROOT / example / "compare.py"))["QUESTIONS"]
    assert nycflights.compare(workflow.parent, tmp_path / "log", questions) == 0
