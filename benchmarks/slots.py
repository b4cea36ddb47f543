"""How many executions a second does one task of slots carry, and what does a slot cost that is free at once?

One worker on an embedded log runs to the end of its input, with and without slots in the way. The work behind them is
next to nothing, so that the slots are what is seen. With one slot the time of a turn shows: from when an execution gets
it until the next one does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import tempfile
import time
from pathlib import Path

import orjson

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.compiler import compile_document
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.sdk.log import Log, TopicSpec
from streamflow.workers.embedded import EmbeddedWorker
from streamflow.workflow.load import load_text

WORKFLOW = """\
workflow: gated
nodes:
  orders: {type: event, topic: orders, schema: order.avsc, format: json, key: id}
GATE  total: {type: set, fields: {total: amount * 2}}
  done: {type: publish, topic: done, format: json}
connections: [orders -> WAYtotal -> done]
policies: {partitions: 2, executions: all}
"""
ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "string"}, {"name": "urgency", "type": "int"}, {"name": "amount", "type": "double"}]}"""
GATE = "  gate: {type: slots, executions: SLOTS, priority: urgency, partitions: 2}\n"


async def one(folder: Path, count: int, slots: int) -> dict[str, object]:
    """A run over `count` executions; `slots` 0: without."""
    text = WORKFLOW.replace("GATE", GATE.replace("SLOTS", str(slots)) if slots else "")
    document, _ = load_text(text.replace("WAY", "gate -> " if slots else ""), base_folder=str(folder))
    assert document is not None
    topology, findings = compile_document(document, registry())
    assert topology is not None, findings
    log = EmbeddedLog(folder / f"log{slots}")
    await log.open()
    await fill(log, count)
    cpu_s, begun_s = time.process_time(), time.monotonic()
    report = await EmbeddedWorker(topology, log, nodes=registry(), until_end=True).run()
    seconds, cpu_s = time.monotonic() - begun_s, time.process_time() - cpu_s
    out = sum([(await log.offsets(TopicPartition("done", p)))[1] for p in range(2)])
    await log.close()
    assert out == count, f"{out:,} of {count:,} came out"
    found: dict[str, object] = {
        "slots": slots, "executions": count, "executions_per_s": round(count / seconds),
        "cpu_us": round(1e6 * cpu_s / count, 1), "commits": report.progress.commits,
    }  # fmt: skip
    print(found, flush=True)
    return found


async def fill(log: Log, count: int) -> None:
    await log.create_topic(TopicSpec(name="orders", partitions=2))
    producer = await log.producer("orders")
    for first in range(0, count, 5_000):
        await producer.begin()
        for p in range(2):
            rows = [
                Record(0, 1_700_000_000_000 + n, b"%d" % n, orjson.dumps(
                    {"id": f"order-{n}", "urgency": n % 5, "amount": n % 100 + 0.5}), [])
                for n in range(first + p, min(first + 5_000, count), 2)
            ]  # fmt: skip
            if rows:
                await producer.append(TopicPartition("orders", p), [from_records(rows)])
        await producer.commit()
    await producer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "slots.json")
    args = parser.parse_args()
    found = []
    for slots, count in ((0, args.executions), (1_000, args.executions), (10_000, args.executions), (1, 100)):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "order.avsc").write_text(ORDER)
            found.append(asyncio.run(one(Path(folder), count, slots)))
    result = {"machine": platform.platform(), "python": platform.python_version(), "runs": found}
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
