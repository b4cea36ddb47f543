"""For faust_overhead.py, each in a process of its own: the turns that go through agents, and what one of them costs.

`count FILE ARGUMENT...` runs `streamflow worker ARGUMENT...` and writes the number of turns to FILE at its end.
`cost WORKFLOW LOG N` prints the CPU time of an empty turn in µs, through the agents of a running app and without them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from streamflow.cli.common import compile_file
from streamflow.cli.main import main as streamflow
from streamflow.workers.driver import advance
from streamflow.workers.faust import app, stages


def count(file: Path, arguments: list[str]) -> None:
    turns = 0

    class Counted(stages.Event):
        def __init__(self, work: Any) -> None:
            nonlocal turns
            turns += 1
            super().__init__(work)

    stages.Event = Counted  # type: ignore[misc]
    sys.argv = ["streamflow", "worker", *arguments]
    try:
        streamflow()
    finally:
        file.write_text(str(turns))


async def cost(workflow: Path, log: str, n: int) -> None:
    _, topology = compile_file(workflow)
    host = app(topology, log)
    await host.start()
    through_agents = host.tasks._worker._turn

    async def fetch() -> object:
        return fetch

    async def take(_: object) -> bool:
        return True

    async def both() -> bool:
        return await take(await fetch())

    task: Any = SimpleNamespace(stage=topology.stages[0], fetch=fetch, take=take, advance=both)
    found: dict[str, list[float]] = {"agents": [], "plain": []}
    for _ in range(5):
        for name, turn in (("agents", through_agents), ("plain", advance)):
            begun = time.process_time()
            for _ in range(n):
                await turn(task)
            found[name].append((time.process_time() - begun) / n * 1e6)
    print(json.dumps({name: sorted(costs)[2] for name, costs in found.items()}), flush=True)
    await host.stop()


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count(Path(sys.argv[2]), sys.argv[3:])
    else:
        asyncio.run(cost(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
