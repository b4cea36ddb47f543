"""Samples of items for records of executions: bounded, and without the values of redacted fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.operators.typed_json import untyped_items
from streamflow.runtime.execution_counts import Ints, Who

ITEM_CHARS_MAX: Final = 1_000
SAMPLES_MAX: Final = 100  # of an execution in one step
REDACTED: Final = "(redacted)"


def sampled(
    given: Sequence[tuple[str, str, Who, Batch]], place: Callable[[Who], Ints], *, most: int, redact: Collection[str]
) -> dict[int, list[dict[str, str]]]:
    """By entry, the first `most` items that each port gave it in the step. `place`: the entry of each row, or -1."""
    found: dict[int, list[dict[str, str]]] = {}
    for node, port, who, batch in given:
        entries = place(who)
        nth = pl.DataFrame({"e": entries}).select(pl.int_range(pl.len()).over("e")).to_series().to_numpy()
        chosen = np.flatnonzero((entries >= 0) & (nth < most))
        rows = batch.with_frame(batch.frame[chosen])
        for entry, text in zip(entries[chosen].tolist(), _texts(rows, frozenset(redact)), strict=True):
            held = found.setdefault(entry, [])
            if len(held) < SAMPLES_MAX:
                held.append({"node": node, "port": port, "item": text})
    return found


def _texts(rows: Batch, redact: frozenset[str]) -> list[str]:
    """Each item as JSON, cut to ITEM_CHARS_MAX. Bytes are no JSON: they are told as text."""
    if rows.schema.kind == "bytes":
        if redact:  # nobody can say what is in them
            return [REDACTED] * len(rows)
        return [_cut(v.decode(errors="backslashreplace")) for v in rows.payload().to_series().fill_null(b"").to_list()]
    items = untyped_items(rows) if rows.schema.kind == "record" else rows.payload().to_series()
    return [_cut(_shown(item, redact)) for item in items.to_list()]


def _shown(item: bytes | None, redact: frozenset[str]) -> str:
    if item is None:
        return "null"
    if not redact:
        return item.decode(errors="backslashreplace")
    return orjson.dumps(_without(orjson.loads(item), redact)).decode()


def _without(value: Any, redact: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {k: REDACTED if k in redact else _without(v, redact) for k, v in value.items()}
    if isinstance(value, list):
        return [_without(v, redact) for v in value]
    return value


def _cut(text: str) -> str:
    return text if len(text) <= ITEM_CHARS_MAX else text[: ITEM_CHARS_MAX - 1] + "…"
