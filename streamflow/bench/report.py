"""What was measured, for people; and beside what was measured earlier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamflow.sdk.errors import UsageError

Result = Mapping[str, Any]  # as `streamflow bench --json` prints it
VERSION: Final = 1

# figure: (where it stands, what it is, whether more is better)
FIGURES: Final = {
    "records_per_s": (("throughput", "records_per_s"), "records/s", True),
    "cpu_us_per_record": (("throughput", "cpu_us_per_record"), "CPU µs a record", False),
    "memory_peak_mb": (("throughput", "memory_peak_mb"), "MB of memory at most", False),
    "latency_p50_ms": (("latency", "p50"), "ms at the median", False),
    "latency_p99_ms": (("latency", "p99"), "ms for 99 of 100", False),
}


def text(result: Result) -> Iterator[str]:
    """Lines."""
    rate = result["throughput"]
    yield f"{result['workflow']}: {result['records']:,} records of {', '.join(result['topics'])}, seed {result['seed']}"
    yield (
        f"  throughput   {rate['records_per_s']:>12,.0f} records/s   {rate['mb_per_s']:,.1f} MB/s   "
        f"{rate['cpu_us_per_record']:.2f} CPU µs a record   {rate['memory_peak_mb']:,.0f} MB at most"
    )
    dead = f"{rate['dead_letters']:,} dead letters"
    yield f"  out          {rate['records_out']:>12,} records, {dead}, {rate['commits']:,} commits"
    steps = {int(size): count for size, count in rate["steps"].items()}
    if steps:
        whole = sum(steps.values())
        most = max(steps, key=lambda size: steps[size])
        yield f"  steps        {whole:>12,}, {steps[most] / whole:.0%} of them of {most:,} to {2 * most - 1:,} rows"
    late = result["latency"]
    if late.get("p50") is not None:
        yield (
            f"  latency      {late['p50']:>9,.1f} ms p50   {late['p95']:,.1f} p95   {late['p99']:,.1f} p99   "
            f"{late['max']:,.1f} max, of {late['records']:,} records at {late['rate']:,} a second"
        )
    elif late:
        yield f"  latency      nothing came out within the time, at {late['rate']:,} records a second"
    spent = sorted(rate["spent_seconds"].items(), key=lambda item: -item[1])
    total = sum(seconds for _, seconds in spent) or 1.0
    for what, seconds in spent:
        yield f"  {seconds / total:>6.1%}  {seconds:>8.3f} s  {what}"


def figures(result: Result) -> dict[str, float]:
    """What there is of FIGURES."""
    found = {}
    for name, ((part, key), _, _) in FIGURES.items():
        value = (result.get(part) or {}).get(key)
        if isinstance(value, int | float):
            found[name] = float(value)
    return found


def check(result: object, place: str) -> Result:
    """The result, if it is one. Raises UsageError."""
    if not isinstance(result, dict) or result.get("bench") != VERSION or "throughput" not in result:
        raise UsageError(f"{place} is no result of this command.", mend="Make one by `streamflow bench FILE --json`.")
    return result


def compared(new: Result, old: Result, tolerance: float) -> tuple[list[str], bool]:
    """Lines that compare two results, and whether a figure got worse by more than `tolerance` (0.15: 15 %)."""
    lines, worse = [], False
    before, now = figures(old), figures(new)
    for name in FIGURES:
        if name not in before or name not in now or not before[name]:
            continue
        _, unit, more_is_better = FIGURES[name]
        ratio = now[name] / before[name]
        bad = ratio < 1 - tolerance if more_is_better else ratio > 1 + tolerance
        worse = worse or bad
        lines.append(
            f"  {ratio:>6.2f} ×  {now[name]:>12,.2f}  was {before[name]:,.2f} {unit}{'  WORSE' if bad else ''}"
        )
    differing = [k for k in ("workflow", "records", "seed", "skew", "log") if old.get(k) != new.get(k)]
    if differing:
        lines.append(f"  the runs differ in {', '.join(differing)}")
    return lines, worse
