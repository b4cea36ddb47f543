"""Two full runs beside each other: every ratio of ours to a peer's, and how far apart the two runs are in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from goals import Report

APART_MAX = 0.15
COMPARED = ("records_per_s", "cpu_us_per_record", "cpu_us_per_record_run", "p50_ms", "p99_ms")


def told(one: Path, other: Path) -> int:
    """Print every ratio of both; 1 where one differs by more than APART_MAX, or nothing is to be compared."""
    found, wide = 0, 0
    for file in sorted(one.glob("*.json")):
        if not (other / file.name).exists():
            continue
        theirs = dict(ratios(json.loads((other / file.name).read_text())))
        for name, value in ratios(json.loads(file.read_text())):
            if name not in theirs:
                continue
            apart = value / theirs[name] - 1 if theirs[name] else float("inf")
            found, wide = found + 1, wide + (abs(apart) > APART_MAX)
            mark = "  <-- apart" if abs(apart) > APART_MAX else ""
            print(f"{value:10.3f} {theirs[name]:10.3f} {apart:+8.1%}  {file.stem}, {name}{mark}")
    print(f"{found} ratios, {wide} of them more than {APART_MAX:.0%} apart")
    return 1 if wide or not found else 0


def ratios(report: Report, path: str = "") -> Iterator[tuple[str, float]]:
    """(question, cell and figure, ratio) of a result."""
    for key, value in report.items():
        if not isinstance(value, dict):
            continue
        if key == "ratio":
            for cell, figures in value.items():
                yield from ((f"{path}{cell}: {k}", v) for k, v in figures.items() if k in COMPARED)
        else:
            yield from ratios(value, f"{path}{key}, ")
