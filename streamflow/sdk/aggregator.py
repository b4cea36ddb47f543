"""Aggregators: a user's Python as a function of windows (`function: code`).

    class Spread:
        def init(self): return []
        def add(self, state, price): return [min([price, *state[:1]]), max([price, *state[1:]])]
        def merge(self, a, b): return [min(a[0], b[0]), max(a[1], b[1])]
        def result(self, state): return state[1] - state[0]

A state is a JSON value, or what becomes one: it is written as JSON behind each call and read again before the next, so
tuples come back as lists and dates as text, and nothing that a call keeps elsewhere counts. What a call raises is the
error of the item that it was made for.

The same items must come to the same state however they are cut: `add_frame(add_frame(s, a), b)` is `add_frame(s, a
and b)`, and for windows that merge (session, sliding) `merge(s, add(init(), x))` is `add(s, x)`.
"""

from __future__ import annotations

from typing import Any, Protocol

import polars as pl


class Aggregator(Protocol):
    """Takes items one by one. `item`: the value of `of`, as functions on items get it."""

    def init(self) -> Any:
        """The state before the first item."""
        ...

    def add(self, state: Any, item: Any) -> Any:
        """The state with one more item; it may be the same object, changed."""
        ...

    def result(self, state: Any) -> Any:
        """The value of a window."""
        ...


class FrameAggregator(Protocol):
    """Takes items of one window many at a time."""

    def init(self) -> Any: ...

    def add_frame(self, state: Any, frame: pl.DataFrame) -> Any:
        """The state with some more items, in order of arrival: at least one row. `frame` has the fields of `of` where
        that is a record, else one column `value`.
        """
        ...

    def result(self, state: Any) -> Any: ...


class MergesStates(Protocol):
    """What an aggregator needs besides for windows of shape session and sliding."""

    def merge(self, a: Any, b: Any) -> Any:
        """The state of the items of `a` followed by those of `b`."""
        ...
