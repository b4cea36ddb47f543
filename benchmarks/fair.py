"""What does each of two workflows get of the threads of a process, and how long does a light one wait beside a flood?

Jobs as steps of tasks are: each task has one at a time, and asks for the next one from the event loop when it is done.
They hash for some 2 ms outside the interpreter's lock. Floods have 16 tasks, the light workflow one that has a job each
20 ms. Beside the shared pool with weights stands a plain one that takes jobs as they come.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from streamflow.workers.pool import Pool

THREADS = 2
TASKS = {"light": 1, "flood": 16, "few": 6}
BYTES = b"x" * 1_000_000
JOBS = 20_000  # that do nothing, to see what a job costs


def work() -> None:
    hashlib.sha256(BYTES).digest()


async def flood(executor: Executor, tasks: int, until_s: float) -> int:
    """Jobs that were done."""
    done = 0

    async def task() -> None:
        nonlocal done
        while time.perf_counter() < until_s:
            await asyncio.get_running_loop().run_in_executor(executor, work)
            done += 1

    await asyncio.gather(*(task() for _ in range(tasks)))
    return done


async def light(executor: Executor, until_s: float) -> list[float]:
    """How long each job took from when it was asked for, in ms."""
    found = []
    while time.perf_counter() < until_s:
        begun = time.perf_counter()
        await asyncio.get_running_loop().run_in_executor(executor, work)
        found.append((time.perf_counter() - begun) * 1_000)
        await asyncio.sleep(0.02)
    return found


async def shares(seconds: float, make: Callable[[str], Executor]) -> dict[str, object]:
    """Two workflows that flood, one with fewer tasks; shares of the jobs done."""
    until_s = time.perf_counter() + seconds
    few, many = await asyncio.gather(
        flood(make("few"), TASKS["few"], until_s), flood(make("flood"), TASKS["flood"], until_s)
    )
    return {"few_tasks": round(few / (few + many), 3), "many_tasks": round(many / (few + many), 3), "jobs": few + many}


async def latency(seconds: float, make: Callable[[str], Executor], *, beside: bool) -> dict[str, object]:
    until_s = time.perf_counter() + seconds
    floods = [asyncio.create_task(flood(make("flood"), TASKS["flood"], until_s))] if beside else []
    took = await light(make("light"), until_s)
    await asyncio.gather(*floods)
    took.sort()
    return {
        "median_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "jobs": len(took),
    }


async def cost(executor: Executor) -> float:
    """CPU of a job that does nothing, in µs."""

    async def task() -> None:
        for _ in range(JOBS // 4):
            await asyncio.get_running_loop().run_in_executor(executor, int)

    begun = time.process_time()
    await asyncio.gather(*(task() for _ in range(4)))
    return round((time.process_time() - begun) / JOBS * 1e6, 1)


def fair(few: int, flooding: int) -> tuple[Pool, Callable[[str], Executor]]:
    pool = Pool(THREADS)
    weights = {"few": few, "flood": flooding, "light": 1}
    return pool, lambda name: pool.executor(name, weights[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fair.json")
    args = parser.parse_args()
    found: dict[str, object] = {}

    def note(name: str, value: object) -> None:
        found[name] = value
        print(f"{name:>32}  {value}", flush=True)

    with ThreadPoolExecutor(THREADS) as plain:
        note("job, plain pool, CPU µs", asyncio.run(cost(plain)))
        with Pool(THREADS) as pool:
            note("job, shared pool, CPU µs", asyncio.run(cost(pool.executor("one"))))
        note("shares, first come", asyncio.run(shares(args.seconds, lambda _: plain)))
        for few, flooding in ((1, 1), (3, 1), (1, 3)):
            pool, make = fair(few, flooding)
            with pool:
                note(f"shares, weights {few}:{flooding}", asyncio.run(shares(args.seconds, make)))
        note("light alone", asyncio.run(latency(args.seconds, lambda _: plain, beside=False)))
        note("light beside, first come", asyncio.run(latency(args.seconds, lambda _: plain, beside=True)))
        pool, make = fair(1, 1)
        with pool:
            note("light beside, weights 1:1", asyncio.run(latency(args.seconds, make, beside=True)))
    result = {"machine": platform.platform(), "python": platform.python_version(), "threads": THREADS, "found": found}
    args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
