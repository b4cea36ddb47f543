"""The goals, each with the figure that it is about, found in the results of the questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import peer

Report = Mapping[str, Any]
Reports = Mapping[str, Report]
STREAMS = peer.kafka_streams("exactly_once_v2", 2).name
FLINK = peer.flink("exactly_once", 2).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """`figure` finds what was measured; raises LookupError where the question was not put."""

    about: str
    text: str
    sense: Literal[">=", "<="]
    wanted: float
    figure: Callable[[Reports], float]
    unit: str = ""

    def met(self, measured: float) -> bool:
        return measured >= self.wanted if self.sense == ">=" else measured <= self.wanted


@dataclass(frozen=True, slots=True)
class Judged:
    goal: Goal
    measured: float | None

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        return "met" if self.goal.met(self.measured) else "**missed**"


def judged(reports: Reports) -> list[Judged]:
    """Every goal with what was measured for it, None where nothing was."""
    found: list[Judged] = []
    for goal in GOALS:
        try:
            found.append(Judged(goal, goal.figure(reports)))
        except LookupError:
            found.append(Judged(goal, None))
    return found


def median(file: str, question: str, cell: str, figure: str) -> Callable[[Reports], float]:
    return lambda reports: float(reports[file][question]["median"][cell][figure])


def beside(file: str, question: str, cell: str, figure: str) -> Callable[[Reports], float]:
    """Ours / theirs."""
    return lambda reports: float(reports[file][question]["ratio"][cell][figure])


def best(file: str, question: str, cells: Sequence[str], figure: str) -> Callable[[Reports], float]:
    """Ours / that of the best of several peers."""
    return lambda reports: min(float(reports[file][question]["ratio"][cell][figure]) for cell in cells)


def flat(file: str, question: str, figure: str) -> Callable[[Reports], float]:
    """The largest of several medians / the least: how flat a figure is."""

    def found(reports: Reports) -> float:
        report = reports[file][question]
        medians = [m["median"]["streamflow"][figure] for key, m in report.items() if key.isdigit()]
        if not medians:
            raise LookupError(question)
        return float(max(medians) / min(medians))

    return found


RATE, CPU, RUN = "records_per_s", "cpu_us_per_record", "cpu_us_per_record_run"
FRAMEWORKS = (peer.BYTEWAX.name, peer.QUIX.name, peer.FAUST.name)
LOOPS = (peer.CONFLUENT.name, peer.AIOKAFKA.name)


def at_least(about: str, text: str, wanted: float, figure: Callable[[Reports], float], unit: str = "×") -> Goal:
    return Goal(about=about, text=text, sense=">=", wanted=wanted, figure=figure, unit=unit)


def at_most(about: str, text: str, wanted: float, figure: Callable[[Reports], float], unit: str = "×") -> Goal:
    return Goal(about=about, text=text, sense="<=", wanted=wanted, figure=figure, unit=unit)


def _latencies() -> list[Goal]:
    found = [
        at_most("latency", f"{name} at {rate:,} records/s, at least once", wanted,
                median("latency", f"at_least_once, {rate:,}/s", "streamflow", name + "_ms"), "ms")
        for rate in (1_000, 20_000) for name, wanted in (("p50", 10.0), ("p99", 40.0))
    ]  # fmt: skip
    return found + [
        at_most("latency", f"Kafka Streams' p99 at {rate:,} records/s, exactly once", 1,
                beside("latency", f"exactly_once, {rate:,}/s", "kafka streams exactly_once_v2", "p99_ms"))
        for rate in (1_000, 20_000)
    ]  # fmt: skip


def _keyed(workload: str, streams: float, flink: float) -> list[Goal]:
    return [
        at_least(workload, "Kafka Streams' rate", streams, beside("keyed", workload, STREAMS, RATE)),
        at_least(workload, "Flink's rate", flink, beside("keyed", workload, FLINK, RATE)),
        at_most(workload, "Kafka Streams' CPU a record", 1 / 3, beside("keyed", workload, STREAMS, CPU)),
        at_most(workload, "Flink's CPU a record", 1 / 3, beside("keyed", workload, FLINK, CPU)),
    ]


GOALS: Sequence[Goal] = (
    at_least("W1", "Kafka Streams' rate", 2.5, beside("kafka", "jvm", STREAMS, RATE)),
    at_least("W1", "Flink's rate", 2.5, beside("kafka", "jvm", FLINK, RATE)),
    at_most("W1", "Kafka Streams' CPU a record", 0.25, beside("kafka", "jvm", STREAMS, CPU)),
    at_most("W1", "Flink's CPU a record", 0.25, beside("kafka", "jvm", FLINK, CPU)),
    at_least("W1", "the best Python framework's rate", 12, best("kafka", "python", FRAMEWORKS, RATE)),
    at_least("W1", "the best hand-written loop's rate", 5, best("kafka", "python", LOOPS, RATE)),
    at_most("limit", "the CPU of a copy without decoding", 3, beside("kafka", "limit", peer.LIMIT.name, RUN)),
    at_least("ten nodes", "W1's rate", 0.6, beside("ten", "ten", "W1", RATE)),
    *_keyed("W2", streams=4, flink=1.8),
    *_keyed("W3", streams=3, flink=3),
    at_least("W1-JSON", "untyped", 300_000, median("kafka", "json", "streamflow", RATE), "records/s"),
    at_least("functions", "a Python function for each item", 150_000,
             median("functions", "functions", "item function", RATE), "records/s"),
    at_least("functions", "W1's rate, a function of frames", 0.8, beside("functions", "functions", "W1", RATE)),
    *_latencies(),
    at_most("scale", "dearest / cheapest of 1, 10 and 50 million records, CPU", 1.1, flat("scale", "records", RUN)),
    at_most("scale", "dearest / cheapest of 1, 4 and 16 partitions, CPU", 1.1, flat("kafka", "partitions", RUN)),
    at_most("scale", "most / least memory, 1 to 50 million records", 1.1, flat("scale", "records", "memory_peak_mb")),
    at_most("start", "`streamflow run` of a small file", 1.2, median("start", "start", "run", "seconds"), "s"),
    at_most("start", "`streamflow --help`", 0.25, median("start", "start", "--help", "seconds"), "s"),
    at_least("embedded", "W1 in one process", 1_000_000, median("embedded", "avro", "streamflow", RATE), "records/s"),
)  # fmt: skip
