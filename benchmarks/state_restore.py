"""How fast is state restored from its changelog, and how soon does a restart with a local checkpoint begin?

A changelog of so many keys is written to an embedded log in commits, some keys twice. Each backend then restores it in
a process of its own: from the start, and (on disk) again from where the first left it, up to the first look at a key.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec
from streamflow.state.changelog import encode_changes
from streamflow.state.restore import restore
from streamflow.state.task_state import MemoryState, RocksState, TaskState

AT, NAME = TopicPartition("shop.hourly.windows.changelog", 0), ("hourly", "windows")
VALUE_BYTES = 40
_PORTION = 100_000  # entries of a commit


def key(number: int) -> bytes:
    """Such as a window's end and a group: no order in the hash, so that keys come as groups do."""
    return (number // 1_000_000).to_bytes(8, "big") + (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big")


async def fill(folder: Path, keys: int) -> int:
    """Write the changelog; how many records it has."""
    log = EmbeddedLog(folder)
    await log.open()
    await log.create_topic(TopicSpec(name=AT.topic, partitions=1, config={"cleanup.policy": "compact"}))
    producer = await log.producer("fill")
    draw, written = np.random.default_rng(1), 0
    for first in range(0, keys, _PORTION):
        again = draw.integers(0, first + 1, _PORTION // 10).tolist()
        numbers = {*range(first, min(first + _PORTION, keys)), *again}
        entries = sorted((key(n), n.to_bytes(8, "big") * (VALUE_BYTES // 8)) for n in numbers)
        await producer.begin()
        await producer.append(AT, encode_changes(entries))
        await producer.commit()
        written += len(entries)
    await producer.close()
    await log.close()
    return written


async def measure(folder: Path, backend: str, keys: int) -> dict[str, object]:
    """Open, restore, look a key up; seconds since the beginning of each."""
    state: TaskState = MemoryState([NAME]) if backend == "memory" else RocksState([NAME], folder / "state", b"")
    log = EmbeddedLog(folder / "log")
    await log.open()
    begun, cpu = time.perf_counter(), time.process_time()
    state.open()
    store = state.stores[NAME]
    first = store.changelog_offset
    end = await restore(store, log, AT)
    restored, cpu = time.perf_counter(), time.process_time() - cpu
    assert store.get(key(keys - 1)) is not None
    assert next(store.scan()) is not None  # what windows do in every step
    seconds = restored - begun
    facts = {
        "records": end - first,
        "seconds": round(seconds, 3),
        "records_per_s": round((end - first) / seconds),
        "cpu_us_per_record": round(cpu * 1e6 / max(end - first, 1), 2),
        "first_row_after_s": round(time.perf_counter() - begun, 3),
        "memory_peak_bytes": peak_bytes(),
    }
    state.close()
    await log.close()
    return facts


def peak_bytes() -> int:
    """The most memory that this process had resident."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "state_restore.json")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "BACKEND"), help="one measurement, in this process")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(asyncio.run(measure(Path(args.measure[0]), args.measure[1], args.keys))))
        return
    with tempfile.TemporaryDirectory() as folder:
        records = asyncio.run(fill(Path(folder, "log"), args.keys))
        print(f"{args.keys:,} keys in {records:,} records", flush=True)
        results: dict[str, object] = {}
        for name, backend in (("memory", "memory"), ("rocksdb", "rocksdb"), ("rocksdb, restarted", "rocksdb")):
            command = [sys.executable, __file__, "--keys", str(args.keys), "--measure", folder, backend]
            results[name] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            print(name, results[name], flush=True)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    args.out.write_text(json.dumps({"machine": machine, "keys": args.keys, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
