"""Items, functions and a workflow frame that the tests of semantics share."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

SCHEMA = """\
{"type": "record", "name": "Item", "fields": [
  {"name": "n", "type": "long"},
  {"name": "m", "type": ["null", "long"]},
  {"name": "name", "type": ["null", "string"]},
  {"name": "x", "type": ["null", "double"]},
  {"name": "tags", "type": {"type": "array", "items": "long"}},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
    {"name": "sku", "type": "string"}, {"name": "qty", "type": "long"}]}}}
]}
"""
TRIGGERS = {
    ("item", "typed"): "{type: event, topic: in, schema: item.avsc}",
    ("item", "any"): "{type: event, topic: in, format: json}",
    ("run", "typed"): "{type: manual, items: [], schema: item.avsc}",
    ("run", "any"): "{type: manual, items: []}",
    ("file", "typed"): "{type: file, path: items.jsonl, schema: item.avsc}",
    ("file", "any"): "{type: file, path: items.jsonl}",
}

lines = st.fixed_dictionaries({"sku": st.sampled_from(["a", "b", "é"]), "qty": st.integers(0, 3)})
items = st.fixed_dictionaries(
    {
        "n": st.integers(0, 5),
        "m": st.none() | st.integers(-3, 3),
        "name": st.none() | st.sampled_from(["a", "b", "é", ""]),
        "x": st.none() | st.integers(-40, 40).map(lambda quarter: quarter / 4),
        "tags": st.lists(st.integers(0, 3), max_size=3),
        "lines": st.lists(lines, max_size=3),
    }
)


def write_inputs(folder: Path) -> None:
    """What the triggers look for when they are compiled."""
    (folder / "item.avsc").write_text(SCHEMA)
    (folder / "items.jsonl").write_text("")


def make_items(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {
            "n": draw.randrange(6),
            "m": draw.choice([None, 1]),
            "name": draw.choice([None, "a", "b", "é"]),
            "x": draw.choice([None, 0.5]),
            "tags": [draw.randrange(4) for _ in range(draw.randrange(4))],
            "lines": [],
        }
        for _ in range(count)
    ]


def twice(item: dict[str, Any]) -> list[dict[str, Any]] | dict[str, Any] | None:
    """Each item once, twice or not at all."""
    return [None, item, [item, {**item, "n": -1}]][item["n"] % 3]


def sometimes_raises(item: dict[str, Any]) -> dict[str, Any]:
    return {"share": 6 // item["n"]}


def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(y=pl.col("n") * 2)


def even(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("n") % 2 == 0)


def refuses_fives(frame: pl.DataFrame) -> pl.DataFrame:
    if (frame["n"] == 5).any():
        raise ValueError("five")
    return frame


def row_count(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame({"count": [frame.height]}, schema={"count": pl.Int64})


def reversed_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.reverse()
