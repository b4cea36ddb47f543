"""`python benchmarks/page.py`: the results of all questions as a page with the goals, tables and pictures.

Writes docs/benchmarks.md and docs/benchmarks/*.svg out of benchmarks/results/*.json; with --check it says whether they
are those of the results. A goal that is missed is shown as missed, one that was not measured as that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import bars
import nexmark_page
from goals import Goal, Judged, Report, Reports, judged

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
# Result file -> question -> how it is headed.
TABLES: Mapping[str, Mapping[str, str]] = {
    "kafka": {
        "jvm": "W1 beside Kafka Streams and Flink",
        "python": "W1 beside Python programs",
        "limit": "W1 beside a copy that decodes nothing",
        "json": "W1 on untyped JSON",
    },
    "keyed": {"W2": "W2, a keyed window with its repartition", "W3": "W3, a join of two streams"},
    "ten": {"ten": "W1 in ten nodes, with branches that part and meet"},
    "functions": {"functions": "W1's map as Python functions"},
    "sizes": {"sizes": "Small records and large ones"},
    "enrich": {"W4": "W4, a stream enriched by a table"},
    "scale": {"processes": "W1 in one process and in two"},
    "latency": {},
    "embedded": {"avro": "W1 on the embedded log", "json": "W1 on the embedded log, untyped JSON"},
}
COLUMNS = {
    "records_per_s": ("records/s", "{:,.0f}"),
    "cpu_us_per_record": ("CPU µs/record", "{:.2f}"),
    "cpu_us_per_record_run": ("of it after the start", "{:.2f}"),
    "broker_cpu_us_per_record": ("broker's CPU", "{:.2f}"),
    "memory_peak_mb": ("MB at most", "{:,.0f}"),
    "mb_per_s": ("MB/s", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:.1f}"),
    "p95_ms": ("p95 ms", "{:.1f}"),
    "p99_ms": ("p99 ms", "{:.1f}"),
    "max_ms": ("most ms", "{:.0f}"),
    "cores": ("cores", "{:.2f}"),
}


def read(folder: Path) -> dict[str, Report]:
    """The results by the names of their files."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def page(reports: Reports, notes: str) -> str:
    lines = [
        "<!-- Generated from benchmarks/results by `python benchmarks/page.py`; do not edit. -->",
        "",
        "# Benchmarks",
        "",
        "`./dev bench` measures all of this anew, every program on the same input, in turn; how is told in",
        "[benchmarks/README.md](../benchmarks/README.md), as is what of the outputs is compared in each run.",
        "",
        "## Goals",
        "",
        "| what | goal | measured | |",
        "|---|---|---|---|",
        *(_goal(one) for one in judged(reports)),
        "",
    ]
    for name, questions in TABLES.items():
        report = reports.get(name)
        if report is None:
            continue
        for question, title in (questions or {q: f"Latency, {q}" for q in _questions(report)}).items():
            if question in report:
                lines += _section(name, question, title, report)
    return "\n".join([*lines, notes.rstrip(), ""])


def pictures(reports: Reports) -> dict[str, str]:
    """SVG by name: a bar for each cell, with its spread."""
    found: dict[str, str] = {}
    for name, questions in TABLES.items():
        for question, title in questions.items():
            cells = reports.get(name, {}).get(question, {}).get("median", {})
            if len(cells) > 1:
                spread = reports[name][question].get("spread", {})
                rows = [
                    bars.Bar(cell, m["records_per_s"], *spread.get(cell, {}).get("records_per_s", (None, None)))
                    for cell, m in cells.items()
                ]
                found[f"{name}-{question}.svg"] = bars.chart(f"{title}: records a second", rows)
    return found


def _goal(one: Judged) -> str:
    sense = {">=": "≥", "<=": "≤"}[one.goal.sense]
    measured = "–" if one.measured is None else _figure(one.goal, one.measured)
    wanted = f"{sense} {_figure(one.goal, one.goal.wanted)} {one.goal.text}"
    return f"| {one.goal.about} | {wanted} | {measured} | {one.verdict} |"


def _figure(goal: Goal, value: float) -> str:
    return f"{value:,.0f} {goal.unit}" if value >= 1_000 else f"{value:.3g} {goal.unit}"


def _section(name: str, question: str, title: str, report: Report) -> list[str]:
    found = report[question]
    medians: Mapping[str, Mapping[str, float]] = found["median"]
    shown = [c for c in COLUMNS if any(c in m for m in medians.values())]
    ratio, settings = found.get("ratio", {}), found.get("settings", {})
    beside = bool(ratio) and "records_per_s" in shown
    lines = [f"## {title}", ""]
    if len(medians) > 1 and "records_per_s" in shown:
        lines += [f"![{title}](benchmarks/{name}-{question}.svg)", ""]
    head = ["", *(COLUMNS[c][0] for c in shown), *(["first / this"] if beside else [])]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell, median in medians.items():
        values = [COLUMNS[c][1].format(median[c]) if c in median else "–" for c in shown]
        values += [f"{ratio[cell]['records_per_s']:.2f} ×" if cell in ratio else ""] if beside else []
        lines.append(f"| {cell} | " + " | ".join(values) + " |")
    lines += ["", _from(report, found), ""]
    lines += [f"- {cell}: {said}." for cell, said in settings.items() if said] + ([""] if settings else [])
    lines += [f"- Not measured: {why}." for why in found.get("missing", {}).values()]
    return lines


def _from(report: Report, found: Mapping[str, Any]) -> str:
    runs = found["runs"]
    count = len(next(iter(runs.values()))) if isinstance(runs, Mapping) else len(runs)
    records = found.get("records")
    many = f"{records:,} records, " if isinstance(records, int) else ""
    version = report.get("versions", {}).get("streamflow", "not recorded")
    where = f"commit {version}, {report.get('date', 'date not recorded')}, {report['machine']['cores']} cores"
    return f"{many}medians of {count} runs in turn; {where}."


def _questions(report: Report) -> Sequence[str]:
    return [key for key, value in report.items() if isinstance(value, Mapping) and "median" in value]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    reports = read(HERE / "results")
    notes = (HERE / "notes.md").read_text() if (HERE / "notes.md").exists() else ""
    files = {DOCS / "benchmarks.md": page(reports, notes)}
    files |= {DOCS / "benchmarks" / name: svg for name, svg in pictures(reports).items()}
    stale = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    if args.check:
        for file in stale:
            print(f"{file.relative_to(HERE.parent)} is not what the results say. Mend: python benchmarks/page.py")
        return 1 if stale else 0
    nexmark_page.write({file: files[file] for file in stale})
    return 0


if __name__ == "__main__":
    sys.exit(main())
