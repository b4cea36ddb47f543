"""The examples flights-* against DuckDB over some days of the data, read in many commits.

`python topologies/flights-…/compare.py` does the same over the whole year.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from streamflow.runtime import source_task
from tests.golden.test_topologies import send_and_run
from topologies import nycflights

ROOT = Path(nycflights.__file__).parent
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("flights-*/compare.py"))
# Over a change of month, so that there are two files, and one of the clocks: on 10 March 02:00 was 03:00.
DAYS = frozenset({(2, 28), (3, 1), (3, 9), (3, 10), (3, 11)})


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_duckdb_gives(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_task, "_ROWS_MAX", 300)
    folder = nycflights.prepare(ROOT / example, tmp_path / example, days=DAYS)
    send_and_run(folder, str(tmp_path / "log"))
    questions: nycflights.Questions = runpy.run_path(str(ROOT / example / "compare.py"))["QUESTIONS"]
    assert nycflights.compare(folder, tmp_path / "log", questions) == 0
