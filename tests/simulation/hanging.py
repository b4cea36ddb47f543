"""Functions that do not return in time, for workflows that run in processes of their own or are replayed."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl

RELEASE = threading.Event()  # those of `until_released` return when it is set
CALLS: list[int] = []  # numbers that `until_released` was called for


def hangs(item: dict[str, Any]) -> dict[str, Any]:
    """Never returns for every tenth number."""
    if item["n"] % 10 == 3:
        threading.Event().wait()
    return item


def until_released(item: dict[str, Any]) -> dict[str, Any]:
    """Returns for numbers from 100 on when it is released."""
    CALLS.append(item["n"])
    if item["n"] >= 100:
        RELEASE.wait()
    return item


def frame_hangs(frame: pl.DataFrame) -> pl.DataFrame:
    """Never returns for a frame with a number that ends with 3."""
    if frame.select((pl.col("n") % 10 == 3).any()).item():
        threading.Event().wait()
    return frame.select("k", "n")
