"""What does it cost that 100,000 items wait, each for its next try, and what do the others lose?

All items of a log are read; of every tenth the node's service is down, so that it is delayed for ten minutes, with and
without jitter. Figures: records a second beside a run in which nothing fails; bytes of the changelog for a delayed
item; resident memory for a delayed item beside that run; and what a restart takes to have the items again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parent))
from park import PARTITIONS, fill

from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition

WORKFLOW = """\
workflow: delay
nodes:
  placed: {{type: event, topic: bench.items, schema: item.avsc, key: string(k)}}
  service: {{type: set, fields: {{each: {each}}}, retry: {{mode: delay, attempts: 10, delay: 10m, jitter: {jitter}}}}}
  done: {{type: publish, topic: bench.done, format: json}}
connections: [placed -> service -> done]
"""
HERE = Path(__file__).parent


def run(folder: Path, *options: str) -> dict[str, float]:
    metrics = folder / "metrics.json"
    command = [sys.executable, "-m", "streamflow.cli.main", "run", str(folder / "workflow.yaml")]
    command += ["--log", str(folder / "log"), "--metrics", str(metrics), *options]
    began = time.monotonic()
    done = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(done.pid, 0)
    wall_s = time.monotonic() - began
    if status:
        raise SystemExit(f"the run failed: {status}")
    found: dict[str, float] = orjson.loads(metrics.read_bytes())
    return found | {"resident_kb_max": usage.ru_maxrss, "wall_s": round(wall_s, 2)}


async def changelog(folder: Path) -> tuple[int, int]:
    """(records, bytes) of the changelog of the node."""
    log = open_log(str(folder / "log"))
    await log.open()
    records = size = 0
    for partition in range(PARTITIONS):
        at = TopicPartition("delay.service.delayed.changelog", partition)
        position, end = await log.offsets(at)
        while position < end and (batches := await log.read(at, position, size_bytes_max=8 << 20)):
            for batch in batches:
                records += batch.count
                size += batch.size_bytes
            position = batches[-1].last_offset + 1
    await log.close()
    return records, size


def once(records: int, each: str, jitter: float) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="streamflow-delay-"))
    try:
        asyncio.run(fill(str(folder / "log"), records))
        shutil.copy(HERE / "park" / "item.avsc", folder / "item.avsc")
        (folder / "workflow.yaml").write_text(WORKFLOW.format(each=each, jitter=jitter))
        facts = run(folder, "--until-end")
        made: dict[str, object] = {name: facts[name] for name in ("records_per_s", "resident_kb_max", "wall_s")}
        if each != "n":
            entries, size = asyncio.run(changelog(folder))
            again = run(folder, "--until-end")
            made |= {
                "changelog_records": entries,
                "changelog_bytes_per_item": round(size / (records / 10), 1),
                "restart_resident_kb_max": again["resident_kb_max"],
                "restart_wall_s": again["wall_s"],
            }
        return made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=1_000_000)
    given = arguments.parse_args()
    told = {
        "records": given.records,
        "delayed": given.records // 10,
        "well": once(given.records, "n", 0),
        "same_time": once(given.records, "n // (n % 10)", 0),
        "jitter": once(given.records, "n // (n % 10)", 0.5),
    }
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
