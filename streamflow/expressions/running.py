"""Running expressions that compute with JSON values: some thousand rows at a time, each column read once."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from streamflow.expressions.python_backend import PythonExpression
from streamflow.expressions.shaped import ShapedExpression
from streamflow.model.batch import Parsed

CHUNK_ROWS = 4_096  # parsed JSON is large: so many objects stay near the processor, and go before the next ones come
Runs = PythonExpression | ShapedExpression


def run_all(
    expressions: Mapping[str, Runs], frame: pl.DataFrame, parsed: Parsed | None = None
) -> dict[str, tuple[pl.Series, pl.Series | None]]:
    """Values and errors of several expressions; each column is read once, some thousand rows at a time.

    `parsed`: JSON columns of this frame that are parsed already, as in `Batch.parsed`; others are added.
    """
    if parsed is not None:
        return _run_chunk(expressions, frame, parsed)
    if not expressions or frame.height <= CHUNK_ROWS:
        return _run_chunk(expressions, frame, {})
    chunks = [_run_chunk(expressions, frame.slice(at, CHUNK_ROWS), {}) for at in range(0, frame.height, CHUNK_ROWS)]
    return {name: _joined([chunk[name] for chunk in chunks]) for name in expressions}


def _run_chunk(
    expressions: Mapping[str, Runs], frame: pl.DataFrame, parsed: Parsed
) -> dict[str, tuple[pl.Series, pl.Series | None]]:
    read = dict(parsed)  # values of typed columns are kept for this run only
    found = {name: e.run(frame, read) for name, e in expressions.items()}
    typed = {name for e in expressions.values() for name in e.columns if not e.is_json(name)}
    parsed.update((name, values) for name, values in read.items() if name not in typed)
    return found


def _joined(chunks: list[tuple[pl.Series, pl.Series | None]]) -> tuple[pl.Series, pl.Series | None]:
    values = pl.concat([v for v, _ in chunks])
    if all(codes is None for _, codes in chunks):
        return values, None
    fine = [pl.repeat(0, len(v), dtype=pl.UInt8, eager=True) if c is None else c for v, c in chunks]
    return values, pl.concat(fine)
