"""Exactly once under SIGKILL: at random moments, and at each named step of the commit path. DESIGN 12, points 7 to
9.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.sdk.crash import POINTS
from tests.simulation import killing

KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Method: 300,000 numbered items through a workflow with state; SIGKILL after random progress, start again;
    compare.
    """
    ground = killing.make(tmp_path, 300_000)
    choose = random.Random(20_261_123)
    kills = 0
    while kills < KILLS:
        # Small enough that twenty kills fit into the work there is.
        if not ground.kill_after(choose.randrange(1, 5_000)):
            break
        kills += 1
    assert kills == KILLS, f"the work was done after {kills} kills: make it larger"
    ground.finish()
    killing.check(ground)
    told = CliRunner().invoke(app, ["audit", str(tmp_path / "workflow.yaml"), "--log", str(ground.log), "--json"])
    assert json.loads(told.stdout)["ok"], told.stdout


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_commit_step_loses_and_doubles_nothing(point: str, tmp_path: Path) -> None:
    """Method: die at the step the first time it is passed, then the third, then later; finish; compare."""
    ground = killing.make(tmp_path, 20_000)
    for nth in (1, 3, 7):
        assert ground.crash(f"{point}:{nth}"), f"{point} was not passed {nth} times"
    ground.finish()
    killing.check(ground)
