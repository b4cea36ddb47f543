"""How much memory does a store of ten million keys take? On disk: below 1 GB, whatever it holds.

The store is filled as a task does it: a step's keys are looked up, put, and committed; then keys all over it are read
and a part of it is scanned. Resident memory is looked at all the while.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from pathlib import Path

import psutil

from streamflow.state.task_state import RocksState

NAME = ("hourly", "windows")
VALUE_BYTES = 40
_STEP, _COMMIT = 5_000, 100_000  # keys of a step, and of a commit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "state_size.json")
    args = parser.parse_args()
    draw, process = random.Random(1), psutil.Process()
    peak, before = 0, process.memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        state = RocksState([NAME], Path(folder), b"")
        state.open()
        store = state.stores[NAME]
        begun, cpu = time.perf_counter(), time.process_time()
        for first in range(0, args.keys, _STEP):
            keys = [(n * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "big") for n in range(first, first + _STEP)]
            assert store.get_many(keys).count(None) == _STEP
            store.put_many(keys, [key[8:] * (VALUE_BYTES // 8) for key in keys])
            if (first + _STEP) % _COMMIT == 0:
                store.commit(first + _STEP)
                peak = max(peak, process.memory_info().rss)
        filled = time.perf_counter() - begun
        print(f"{args.keys:,} keys in {filled:.1f} s, {peak / 1e6:.0f} MB resident", flush=True)
        numbers = [draw.randrange(args.keys) for _ in range(200_000)]
        reading = time.perf_counter()
        for i in range(0, len(numbers), _STEP):
            keys = [(n * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "big") for n in numbers[i : i + _STEP]]
            assert None not in store.get_many(keys)
        read = time.perf_counter() - reading
        scanned = sum(1 for _ in store.scan(b"", (1 << 60).to_bytes(16, "big")))
        peak = max(peak, process.memory_info().rss)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        result = {
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "keys": args.keys,
            "value_bytes": VALUE_BYTES,
            "memory_before_bytes": before,
            "memory_peak_bytes": peak,
            "disk_bytes": size,
            "fill_s": round(filled, 1),
            "random_reads_per_s": round(len(numbers) / read),
            "scanned": scanned,
            "cpu_s": round(time.process_time() - cpu, 1),
        }
        state.close()
    print(json.dumps(result, indent=2))
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
