"""`./dev soak nexmark`: every Nexmark query in topologies/, on both logs, with 1 and 3 workers, and under attack.

A line for each query and way. Results must be those of DuckDB over the same events; under attack workers are killed
while they become three and one again, and every store must be what a replay keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from streamflow.cli.common import compile_file
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.nexmark import Nexmark
from tests.golden.nexmark_answers import answers, published, queries
from tests.kafka import attacks
from tests.kafka.ground import STREAMFLOW
from tests.kafka.nexmark_ground import NexmarkGround
from tests.kafka.nexmark_source import DISORDER, Source, from_file
from tests.simulation.running import with_log

# Under attack: small steps, so that there is work left for the next kill.
ATTACKED = {"commit_interval": "50ms", "step_bytes_max": 65_536}


@dataclass(frozen=True)
class Soak:
    """What all ways share."""

    source: Source
    folder: Path
    bootstrap: str
    kills: int
    seed: int
    say: Callable[[str], None]

    def ground(self, query: str, way: str) -> NexmarkGround:
        name = f"{query}-{way}"
        return NexmarkGround(
            self.folder / name, self.bootstrap, name, self.source.records,
            session_timeout_s=3, query=query, source=self.source,
        )  # fmt: skip


def embedded(soak: Soak, query: str, workers: int) -> None:
    folder = soak.folder / f"{query}-embedded-{workers}"
    workflow, log = from_file(query, folder, soak.source.file), folder / "log"
    command = [*STREAMFLOW, "run", str(workflow), "--log", str(log), "--until-end", "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.decode()[-3_000:])
    _, plan = compile_file(workflow)
    found: pl.DataFrame = asyncio.run(with_log(log, lambda opened: published(plan, f"nexmark.{query}", opened)))
    if said := answers(soak.source.file).difference(query, found):
        raise AssertionError(f"the results differ from DuckDB's: {said}")


def on_kafka(soak: Soak, query: str, workers: int) -> None:
    ground = soak.ground(query, f"kafka-{workers}").make()
    try:
        ground.run(workers)
        ground.judge()
        ground.delete_topics()
    finally:
        ground.stop()


def attacked(soak: Soak, query: str) -> None:
    ground = soak.ground(query, "attacked").make(ATTACKED)
    try:
        met = attacks.kills_while_rescaling(ground, soak.kills, random.Random(soak.seed), soak.say)
        if met < soak.kills:
            raise AssertionError(f"the work was done after {met} kills: give more --events")
        ground.finish(timeout_s=1_800)
        ground.judge()
        ground.delete_topics()
    finally:
        ground.stop()


WAYS: dict[str, Callable[[Soak, str], None]] = {
    "embedded-1": lambda soak, query: embedded(soak, query, 1),
    "embedded-3": lambda soak, query: embedded(soak, query, 3),
    "kafka-1": lambda soak, query: on_kafka(soak, query, 1),
    "kafka-3": lambda soak, query: on_kafka(soak, query, 3),
    "attacked": attacked,
}


def main(words: list[str], say: Callable[[str], None]) -> int:
    """Returns the exit code: 1 if a query differed or failed in some way."""
    parser = argparse.ArgumentParser(prog="./dev soak nexmark", description=__doc__)
    parser.add_argument("--query", nargs="+", choices=queries(), default=queries(), metavar="qN")
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-order", action="store_true", help="events arrive in the order of their times")
    args = parser.parse_args(words)
    stream = Nexmark(events=args.events, seed=args.seed, **({} if args.in_order else DISORDER))
    folder, failed = Path(tempfile.mkdtemp(prefix="streamflow-nexmark-")), 0
    settings = {"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}
    try:
        with KafkaServer(folder / "kafka", settings=settings) as server:
            source = Source(stream, folder / "events.jsonl", server.bootstrap, "nexmark.events").write()
            say(f"{args.events:,} events")
            soak = Soak(source, folder, server.bootstrap, args.kills, args.seed, say)
            for query in args.query:
                for way in args.way:
                    failed += not _holds(soak, query, way)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def _holds(soak: Soak, query: str, way: str) -> bool:
    started = time.monotonic()
    try:
        WAYS[way](soak, query)
    except AssertionError as error:  # the other queries are of interest as well
        soak.say(f"{query} {way}: FAILED: {error}")
        return False
    soak.say(f"{query} {way}: equal to DuckDB, {time.monotonic() - started:.0f} s")
    return True
