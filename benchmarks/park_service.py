"""The service of benchmarks/park.py: down for key 7 as long as the file that PARK_DOWN names is there."""

from __future__ import annotations

import os

import polars as pl

KEY = 7
_FILE = os.environ.get("PARK_DOWN", "")


def call(frame: pl.DataFrame) -> pl.DataFrame:
    if _FILE and frame.height and (frame["k"] == KEY).any() and os.path.exists(_FILE):
        raise ConnectionError("the service is down")
    return frame
