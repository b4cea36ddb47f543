"""Colours and type of the plan's picture. Everything is a class, so that dark mode is one block of variables."""

from __future__ import annotations

STYLE = """
svg {
  --page: #fbfbfd; --frame: #f1f3f8; --edge: #ccd3e0; --ink: #1d2433; --soft: #667085; --box: #ffffff;
  --line: #8592a8; --entry: #0e9f6e; --step: #5b6ee1; --sink: #0284c7; --own: #b7791f; --error: #d64545;
  --user: #0e7490; --pill: #ecfdf8; --pill-own: #fdf6e7;
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { svg {
  --page: #12151c; --frame: #191e28; --edge: #333c4d; --ink: #e7ebf3; --soft: #97a3b8; --box: #222938;
  --line: #6f7d95; --entry: #34d399; --step: #8b9cf7; --sink: #38bdf8; --own: #e0b252; --error: #f47174;
  --user: #2dd4bf; --pill: #10302e; --pill-own: #2e2818; } }
.page { fill: var(--page); }
.title { font-size: 20px; font-weight: 650; fill: var(--ink); }
.note { font-size: 12.5px; fill: var(--soft); }
.frame { fill: var(--frame); stroke: var(--edge); }
.frame-title { font-size: 12px; font-weight: 600; fill: var(--soft); letter-spacing: 0.02em; }
.node rect { fill: var(--box); stroke: var(--edge); stroke-width: 1.2; }
.stripe { stroke-width: 3.2; stroke-linecap: round; fill: none; }
.entry .stripe { stroke: var(--entry); } .step .stripe { stroke: var(--step); } .sink .stripe { stroke: var(--sink); }
.id { font-size: 13px; font-weight: 600; fill: var(--ink); }
.kind { font-size: 11px; fill: var(--soft); }
.topic rect { stroke-width: 1.4; }
.topic.user rect { fill: var(--pill); stroke: var(--user); }
.topic.own rect { fill: var(--pill-own); stroke: var(--own); stroke-dasharray: 5 3; }
.lines { fill: none; stroke-width: 1.8; stroke-linecap: round; opacity: 0.75; }
.user .lines { stroke: var(--user); } .own .lines { stroke: var(--own); }
.wire { fill: none; stroke: var(--line); stroke-width: 1.5; marker-end: url(#arrow); }
.wire.bare { marker-end: none; }
.wire.error { stroke: var(--error); stroke-dasharray: 5 4; marker-end: url(#arrow-error); }
.tip { fill: var(--line); } .tip.error { fill: var(--error); }
.port { font-size: 10.5px; fill: var(--soft); paint-order: stroke; stroke: var(--frame); stroke-width: 3px; }
.port.error { fill: var(--error); } .port.end { text-anchor: end; }
"""

_MARKER = (
    '<marker id="{id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path class="{style}" d="M 1 1 L 7 4 L 1 7 z"/></marker>'
)
DEFS = f"<defs>{_MARKER.format(id='arrow', style='tip')}{_MARKER.format(id='arrow-error', style='tip error')}</defs>"
