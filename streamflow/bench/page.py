"""A result as one HTML page that needs nothing else: numbers, and bars as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from streamflow.bench.report import Result, text

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5d6b7a; --bar: #2f6fde; --ground: #fff; --line: #d8dee6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf3; --soft: #9aa7b5; --bar: #6ea0ff; --ground: #14191f; --line: #2c3642; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 54rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1px;
  background: var(--line); border: 1px solid var(--line); }
.figures div { background: var(--ground); padding: .7rem .9rem; }
.figures b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
small, .soft { color: var(--soft); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg rect { fill: var(--bar); } pre { overflow-x: auto; border: 1px solid var(--line); padding: .8rem; }
"""
_NAMES, _WIDE, _ROW = 150, 700, 22


def page(result: Result) -> str:
    """The whole page."""
    rate, late = result["throughput"], result["latency"]
    figures = {
        "records/s": f"{rate['records_per_s']:,.0f}",
        "MB/s": f"{rate['mb_per_s']:,.1f}",
        "CPU µs a record": f"{rate['cpu_us_per_record']:.2f}",
        "MB at most": f"{rate['memory_peak_mb']:,.0f}",
    }
    if late.get("p50") is not None:
        figures |= {f"ms {name}": f"{late[name]:,.1f}" for name in ("p50", "p99", "max")}
    spent = sorted(rate["spent_seconds"].items(), key=lambda item: -item[1])
    steps = sorted((int(size), count) for size, count in rate["steps"].items())
    parts = [
        f"<h1>{escape(result['workflow'])}</h1>",
        f"<p class=soft>{result['records']:,} records of {escape(', '.join(result['topics']))}, seed {result['seed']}, "
        f"skew {result['skew']}, {escape(result['log'])} log, {escape(result['date'])} UTC, streamflow "
        f"{escape(result['versions']['streamflow'])}, {result['machine']['cores']} cores</p>",
        "<div class=figures>" + "".join(f"<div><b>{v}</b>{escape(n)}</div>" for n, v in figures.items()) + "</div>",
        "<h2>Where the time went</h2>",
        bars([(what, seconds, f"{seconds:.3f} s") for what, seconds in spent]),
        "<h2>Rows of a step</h2>",
        bars([(f"{size:,} to {2 * size - 1:,}", count, f"{count:,}") for size, count in steps]),
    ]
    if late.get("p50") is not None:
        names = ("p50", "p95", "p99", "max")
        parts.append(f"<h2>Latency at {late['rate']:,} records a second</h2>")
        parts.append(bars([(name, late[name], f"{late[name]:,.1f} ms") for name in names]))
    parts.append(f"<h2>As text</h2><pre>{escape(chr(10).join(text(result)))}</pre>")
    head = f"<meta charset=utf-8><title>{escape(result['workflow'])}: streamflow bench</title><style>{_STYLE}</style>"
    head += "<meta name=viewport content='width=device-width'>"
    return f"<!doctype html><html lang=en>{head}<body>{''.join(parts)}</body></html>\n"


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: name, length, what stands at its end."""
    if not rows:
        return "<p class=soft>Nothing was told.</p>"
    most = max(length for _, length, _ in rows) or 1.0
    drawn = []
    for i, (name, length, said) in enumerate(rows):
        y, width = i * _ROW, max(1.0, (_WIDE - _NAMES - 90) * length / most)
        drawn.append(
            f"<text x='{_NAMES - 8}' y='{y + 15}' text-anchor='end'>{escape(name)}</text>"
            f"<rect x='{_NAMES}' y='{y + 4}' width='{width:.1f}' height='{_ROW - 8}' rx='2'/>"
            f"<text x='{_NAMES + width + 6:.1f}' y='{y + 15}'>{escape(said)}</text>"
        )
    return f"<svg viewBox='0 0 {_WIDE} {len(rows) * _ROW}' role='img'>{''.join(drawn)}</svg>"
