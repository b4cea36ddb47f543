"""A bar chart as SVG: a row for each program, its median as a bar, least and most of its runs as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

STYLE = """
svg { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.page { fill: #fbfbfd; } .title { font-size: 16px; font-weight: 650; fill: #1d2433; }
.name { font-size: 13px; fill: #1d2433; } .figure { font-size: 12px; fill: #1d2433; }
.ours { fill: #0e9f6e; } .theirs { fill: #8a93a6; } .spread { stroke: #1d2433; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  .page { fill: #12151c; } .title, .name, .figure { fill: #e7ebf3; }
  .ours { fill: #34d399; } .theirs { fill: #667085; } .spread { stroke: #e7ebf3; }
}
"""
WIDTH, LEFT, RIGHT, TOP, ROW, HEIGHT = 860, 270, 110, 56, 32, 18


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    median: float
    least: float | None = None
    most: float | None = None


def chart(title: str, rows: Sequence[Bar]) -> str:
    """The first row is ours: it has a color of its own. Values are 0 and above."""
    top = max(max(row.median, row.most or 0) for row in rows) or 1.0
    height = TOP + ROW * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_quoted(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="10"/>',
        f'<text class="title" x="20" y="32">{escape(title)}</text>',
    ]
    for n, row in enumerate(rows):
        y = TOP + n * ROW
        parts += [
            f'<text class="name" x="{LEFT - 12}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{"theirs" if n else "ours"}" x="{LEFT}" y="{y}" width="{_at(row.median, top):.1f}" '
            f'height="{HEIGHT}" rx="3"/>',
        ]
        end = row.median
        if row.least is not None and row.most is not None:
            a, b, middle = LEFT + _at(row.least, top), LEFT + _at(row.most, top), y + HEIGHT / 2
            parts.append(f'<line class="spread" x1="{a:.1f}" x2="{b:.1f}" y1="{middle}" y2="{middle}"/>')
            end = max(end, row.most)
        parts.append(f'<text class="figure" x="{LEFT + _at(end, top) + 8:.1f}" y="{y + 14}">{row.median:,.0f}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _at(value: float, top: float) -> float:
    return value / top * (WIDTH - LEFT - RIGHT)


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;"})
