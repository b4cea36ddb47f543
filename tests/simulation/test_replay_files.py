"""A replay writes no file where the first run wrote one. DESIGN 12, points 4 and 11."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.build import TaskBuildContext
from streamflow.sdk.errors import UsageError
from tests.simulation.running import compiled, contents, run, send, with_log

WORKFLOW = """\
workflow: archived
nodes:
  rows: {type: event, topic: in, format: json}
  near: {type: write-file, path: out/near.jsonl, rows_max: 16}
  far: {type: write-file, path: PATH, rows_max: 7}
  out: {type: publish, topic: out, format: json}
connections: ["rows -> [near, far, out]"]
policies: {commit_interval: 1ms, step_bytes_max: 300}
"""


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


def test_files_of_a_replay_have_a_folder_of_their_own(tmp_path: Path) -> None:
    """One path beside the workflow file, and one that is absolute: both are found below the replay's folder."""
    live, elsewhere, mine = tmp_path / "live", tmp_path / "elsewhere", tmp_path / "replay"
    live.mkdir()
    topology = compiled(WORKFLOW.replace("PATH", str(elsewhere / "far.jsonl")), live)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(100)], partitions=2, batch=3)
        await run(topology, log)
        before = files(tmp_path)
        assert sorted(json.loads(line)["n"] for text in before.values() for line in text.splitlines()) == sorted(
            [*range(100), *range(100)]
        )
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        with pytest.raises(UsageError, match="writes files"):
            await follow(topology, log, again, nodes=registry())
        await follow(topology, log, again, nodes=registry(), files_folder=mine)
        assert await contents(again, "out") == await contents(log, "out")
        await again.close()
        after = {name: text for name, text in files(tmp_path).items() if not name.startswith("replay")}
        assert after == before
        assert hidden(tmp_path) == []
        assert files(mine / "out") == files(live / "out")
        assert files(mine / elsewhere.relative_to("/")) == files(elsewhere)

    asyncio.run(with_log(tmp_path / "log", once))


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.staged"))


@pytest.mark.parametrize("path", ["../up.jsonl", "a/../../up.jsonl", "/tmp/../up.jsonl"])
def test_no_path_leads_out_of_the_folder(path: str, tmp_path: Path) -> None:
    ctx = TaskBuildContext(
        node_id="n", inputs={}, outputs={}, extent="item", vars={}, partition=0, base_folder=str(tmp_path / "flows"),
        files_folder=str(tmp_path / "replay"),
    )  # fmt: skip
    found = ctx.output_path(path)
    assert found.resolve().is_relative_to(tmp_path / "replay")
    assert ".." not in found.parts
