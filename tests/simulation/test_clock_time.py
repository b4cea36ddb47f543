"""Event time by the clock: windows close without records, every item counts once, and a replay says the same."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

from streamflow.sdk.log import TopicSpec
from tests.simulation.running import compiled, values
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, replays, send_at

# As Nexmark query 12, with bidders n % 3.
WORKFLOW = """
workflow: bids
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, by_clock: true}
  counts: {type: window, key: n % 3, key_field: bidder, size: 10s, fields: {bids: {function: count}}}
  late: {type: publish, topic: late, format: json}
  out: {type: publish, topic: out, format: json}
connections: [start -> counts -> out, counts.late -> late]
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


def test_windows_by_the_clock(tmp_path: Path) -> None:
    """Method: two partitions, items of any time, a clock that also goes back; then the clock goes on alone."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(WORKFLOW, tmp_path, nodes=NODES)
    first, second = (stage.id for stage in topology.stages)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))
        for stage in (first, second):
            for p in range(2):
                await bench.start(stage, p)

        async def pass_time() -> list[tuple[int, int, int]]:
            for stage in (first, second):
                for p in range(2):
                    await bench.work(stage, p)
            starts = [
                round(datetime.fromisoformat(row["window_start"]).timestamp()) for row in await values(log, "out")
            ]
            return [
                (start, row["bidder"], row["bids"]) for start, row in zip(starts, await values(log, "out"), strict=True)
            ]

        for n, now_ms in enumerate([1_000, 4_000, 9_999, 9_000, 10_000, 14_000, 8_000, 19_999, 31_000]):
            bench.now_ms = now_ms
            await send_at(log, "in", n % 2, [(6 * n, 5), (6 * n + 1, 10**9), (6 * n + 2, 0)])
            await pass_time()
        # What came at 31 s is in a window that is open; no record closes those before it.
        found = await pass_time()
        assert max(start for start, _, _ in found) == 10
        bench.now_ms = 45_000
        found = await pass_time()
        assert max(start for start, _, _ in found) == 30
        assert all(start % 10 == 0 for start, _, _ in found)
        assert max(Counter(f[:2] for f in found).values()) == 1
        bids: Counter[int] = Counter()
        for _, bidder, count in found:
            bids[bidder] += count
        assert bids == {0: 9, 1: 9, 2: 9}
        assert await values(log, "late") == []
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)
