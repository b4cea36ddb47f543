"""`python benchmarks/nexmark_page.py`: the figures of results/nexmark.json as a page with a table and a picture.

Writes docs/benchmarks/nexmark.md and nexmark.svg; with --check it says whether they are those of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
PAGE_FOLDER = HERE.parent / "docs" / "benchmarks"
QUESTIONS = {
    "q0": "all bids as they are", "q1": "prices in euros", "q2": "bids on some auctions", "q3": "sellers by state",
    "q4": "average price by category", "q5": "hot items, hopping windows", "q7": "highest bid, tumbling windows",
    "q8": "new users who sell, windowed join", "q11": "sessions of users", "q12": "windows by the clock",
}  # fmt: skip
LOGS = {"embedded": "embedded log", "kafka": "Apache Kafka"}

# Plain colors, which every viewer knows, and others where the page is dark.
STYLE = """
svg { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.page { fill: #fbfbfd; } .grid { stroke: #dde2ec; }
.title { font-size: 16px; font-weight: 650; fill: #1d2433; }
.query { font-size: 13px; font-weight: 600; fill: #1d2433; }
.what, .legend { font-size: 11.5px; fill: #667085; } .figure { font-size: 11.5px; fill: #1d2433; }
.tick { font-size: 11px; fill: #667085; text-anchor: middle; }
.embedded { fill: #0e9f6e; } .kafka { fill: #5b6ee1; }
@media (prefers-color-scheme: dark) {
  .page { fill: #12151c; } .grid { stroke: #2b3240; } .title, .query, .figure { fill: #e7ebf3; }
  .what, .legend, .tick { fill: #97a3b8; } .embedded { fill: #34d399; } .kafka { fill: #8b9cf7; }
}
"""
WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 860, 232, 84, 76, 46, 15
Report = Mapping[str, Any]


def page(report: Report) -> str:
    """The Markdown page: what was measured, the picture, and a row for each query."""
    machine, versions, runs = report["machine"], report["versions"], len(_first(report)["runs"]["embedded"])
    rows = [
        f"| {query} | {QUESTIONS.get(query, '')} | "
        + " | ".join(f"{m['records_per_s']:,.0f} | {m['cpu_us_per_record_run']:.2f}" for m in _medians(found))
        + " |"
        for query, found in report["queries"].items()
    ]
    return "\n".join([
        "<!-- Generated from benchmarks/results/nexmark.json by `python benchmarks/nexmark_page.py`; do not edit. -->",
        "",
        "# Nexmark",
        "",
        "![Nexmark: events a second by query](nexmark.svg)",
        "",
        f"{report['events']:,} events on four partitions, one process, {report['guarantee'].replace('_', ' ')}; "
        f"medians of {runs} {'run' if runs == 1 else 'runs'}, both logs in turn.",
        f"Machine: {machine['cores']} cores, {machine['processor']}; Python {machine['python']}, "
        f"polars {versions['polars']}, Kafka {versions['kafka']} on the same machine.",
        "",
        "Every event counts, whatever a query does with it. Time and CPU are those from the first record read to the",
        "end of the last commit. Each result was compared with DuckDB's. Measure anew: `python benchmarks/nexmark.py`,",
        "then `python benchmarks/nexmark_page.py`.",
        "",
        "| query | what it asks | embedded: events/s | CPU µs/event | Kafka: events/s | CPU µs/event |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def picture(report: Report) -> str:
    """Two bars for each query, events a second."""
    queries = report["queries"]
    best = max(m["records_per_s"] for found in queries.values() for m in _medians(found))
    step = _tick(best)
    scale = (WIDTH - LEFT - RIGHT) / (best or 1)
    bottom = TOP + ROW * len(queries)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 36}" role="img" '
        'aria-label="Nexmark: events a second by query">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{bottom + 36}" rx="8"/>',
        '<text class="title" x="20" y="30">Nexmark: events a second, exactly once</text>',
    ]
    for i, (log, name) in enumerate(LOGS.items()):
        x = LEFT + 130 * i
        parts.append(f'<rect class="{log}" x="{x}" y="44" width="12" height="12" rx="2"/>')
        parts.append(f'<text class="legend" x="{x + 18}" y="54">{name}</text>')
    for number in range(int(best // step) + 1):
        x = LEFT + number * step * scale
        parts.append(f'<path class="grid" d="M {x:.1f} {TOP - 6} V {bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}">{_short(number * step)}</text>')
    for i, (query, found) in enumerate(queries.items()):
        parts += _bars(query, _medians(found), TOP + ROW * i, scale)
    return "\n".join([*parts, "</svg>", ""])


def _bars(query: str, medians: Sequence[Mapping[str, float]], y: int, scale: float) -> list[str]:
    parts = [
        f'<text class="query" x="20" y="{y + 14}">{query}</text>',
        f'<text class="what" x="20" y="{y + 30}">{escape(QUESTIONS.get(query, ""))}</text>',
    ]
    for i, (log, figures) in enumerate(zip(LOGS, medians, strict=True)):
        top, rate = y + i * (BAR + 2), figures["records_per_s"]
        parts.append(
            f'<rect class="{log}" x="{LEFT}" y="{top}" width="{rate * scale:.1f}" height="{BAR}" rx="2"/>'
            f'<text class="figure" x="{LEFT + rate * scale + 6:.1f}" y="{top + 12}">{rate:,.0f}</text>'
        )
    return parts


def _medians(found: Mapping[str, Any]) -> list[Mapping[str, float]]:
    return [found["median"][log] for log in LOGS]


def _first(report: Report) -> Mapping[str, Any]:
    first: Mapping[str, Any] = next(iter(report["queries"].values()))
    return first


def _tick(best: float) -> int:
    """The least round distance of which at most five fit below `best`."""
    return next(step for power in range(12) for step in (10**power, 2 * 10**power, 5 * 10**power) if best <= 5 * step)


def _short(number: float) -> str:
    return f"{number / 1e6:g} M" if number >= 1e6 else f"{number / 1e3:g} k" if number >= 1e3 else f"{number:g}"


def files(report: Report, folder: Path = PAGE_FOLDER) -> dict[Path, str]:
    """What belongs into which file."""
    return {folder / "nexmark.md": page(report), folder / "nexmark.svg": picture(report)}


def write(wanted: Mapping[Path, str]) -> None:
    for file, text in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "nexmark.json")
    parser.add_argument("--to", type=Path, default=PAGE_FOLDER)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    report = json.loads(args.results.read_text())
    wanted = files(report, args.to)
    if args.check:
        old = [str(file) for file, text in wanted.items() if not file.exists() or file.read_text() != text]
        print("\n".join(f"{file} is not that of {args.results}" for file in old), end="\n" if old else "")
        return 1 if old else 0
    write(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
