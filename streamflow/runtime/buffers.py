"""Rows that were read ahead of their turn, in a task whose inputs are merged by event time.

One read of each input at most is held: an input is read again when all of it was taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from streamflow.model.batch import TS
from streamflow.model.positions import TopicPartition
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.chooser import NOTHING_TAKEN, Buffered, Choice, choose, merged

_NONE = pl.Series(TS, [], dtype=pl.Int64)


class Buffers:
    """What has arrived on each of `inputs` and waits. Their order decides between rows of one time."""

    def __init__(self, inputs: Sequence[TopicPartition]) -> None:
        self._inputs = tuple(inputs)
        self._arrived: dict[TopicPartition, Arrived] = {}

    def __bool__(self) -> bool:
        return bool(self._arrived)

    def __contains__(self, at: TopicPartition) -> bool:
        return at in self._arrived

    def end_offset(self, at: TopicPartition, position: int) -> int:
        """Where to read on, if what was taken ends at `position`."""
        return self._arrived[at].end_offset if at in self._arrived else position

    def add(self, arrived: Arrived) -> None:
        """Hold what was read of an input of which nothing is held."""
        assert arrived.at not in self._arrived, "an input is read again when all of it was taken"
        self._arrived[arrived.at] = arrived

    def clear(self) -> None:
        self._arrived.clear()

    def take(self, more: Mapping[TopicPartition, bool], taken_ms: Mapping[TopicPartition, int]) -> list[Arrived]:
        """What is next, with its order; it is held no longer. Nothing, where an input has to be waited for.

        `more`: whether an input may still bring rows before those that are here. `taken_ms`: by input, the greatest
        event time of the rows taken so far.
        """
        choice = choose([self._buffered(at, more.get(at, False), taken_ms) for at in self._inputs])
        return self._taken(choice)

    def take_all(self, taken_ms: Mapping[TopicPartition, int]) -> list[Arrived]:
        """Everything that is held, with its order."""
        return self._taken(merged([self._buffered(at, False, taken_ms) for at in self._inputs]))

    def _buffered(self, at: TopicPartition, more: bool, taken_ms: Mapping[TopicPartition, int]) -> Buffered:
        held = self._arrived.get(at)
        ts = _NONE if held is None else held.frame[TS]
        return Buffered(ts=ts, more=more or held is not None, taken_ms=taken_ms.get(at, NOTHING_TAKEN))

    def _taken(self, choice: Choice) -> list[Arrived]:
        taken = []
        for at, count, order in zip(self._inputs, choice.counts, choice.orders, strict=True):
            held = self._arrived.get(at)
            if held is None:
                continue
            head, rest = held, None
            if count < held.frame.height:
                head, rest = held.split(held.position(count))
            if head.end_offset == head.first:
                continue  # its first row has to wait
            taken.append(replace(head, order=order))
            if rest is None:
                del self._arrived[at]
            else:
                self._arrived[at] = rest
        return taken
