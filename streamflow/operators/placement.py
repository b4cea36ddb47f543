"""Which partition of a topic rows go to, where it is not the hash of their key.

What a strategy counts is kept in the node's store, so that it commits, aborts and restores with the rows: a replay, and
the same stream cut into other steps, places every row where it was.

| strategy     | a row goes to                                                                              |
|--------------|--------------------------------------------------------------------------------------------|
| round_robin  | one partition after another; task p begins at partition p                                   |
| weighted     | partitions in proportion to their weights, evenly mixed: exactly so in each sum of weights  |
| random       | a partition drawn by a generator seeded by (node, the row's position and path)              |
| least_loaded | the partition that has had the fewest rows of this task; of several the first               |
| expression   | the value of an expression, modulo the number of partitions                                 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import OFFSET, PATH, SOURCE, Batch
from streamflow.model.types import LONG, array_of, record_of
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.partition import murmur2
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
Strategy = Literal["round_robin", "weighted", "random", "least_loaded", "expression"]
COUNTS: Final = frozenset({"round_robin", "weighted", "least_loaded"})  # strategies that need the store
STORE: Final = "placed"
PARTITION_VALUE: Final = "partition"  # the expression among those of a projection
TO: Final = "@to"  # Int32: the partition a row goes to
WEIGHTS_SUM_MAX: Final = 100_000
_NAME: Final = b"n"


@dataclass(frozen=True, slots=True)
class Placement:
    """Places rows of one node by one strategy.

    `partitions`: of the topic. `chosen`: the projection of the expression, and what names it in messages.
    """

    strategy: Strategy
    partitions: int
    weights: Sequence[int] = ()
    chosen: tuple[Projection, str] | None = None
    _turns: Int64s = field(init=False)
    _codec: RowCodec = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "_turns", turns(self.weights) if self.strategy == "weighted" else np.empty(0, np.int64)
        )
        object.__setattr__(self, "_codec", RowCodec(record_of({"n": array_of(LONG)}), name="Placed"))

    def choose(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """Evaluate the expression, before items are shaped: (rows with TO, rows that failed)."""
        if self.chosen is None:
            return batch, None
        projection, label = self.chosen
        batch, values, failed = evaluate(batch, projection, {PARTITION_VALUE: label})
        number = values[PARTITION_VALUE].cast(pl.Int64)
        wrong = number.is_null() | (number < 0)
        failures = [failed]
        if wrong.any():
            message = f"{label}: a partition is a number from 0 on, not null."
            failures.append(fail(batch.where(wrong), "does_not_fit", message))
            batch, number = batch.where(~wrong), number.filter(~wrong)
        to = (number % self.partitions).cast(pl.Int32).alias(TO)
        return batch.with_frame(batch.frame.with_columns(to)), join_failed(failures)

    def place(self, batch: Batch, ctx: Context) -> Batch:
        """Rows that are to be written, with TO."""
        if self.chosen is not None or not len(batch):
            return batch
        to = self._drawn(batch.frame, ctx) if self.strategy == "random" else self._counted(len(batch), ctx)
        return batch.with_frame(batch.frame.with_columns(pl.Series(TO, to, dtype=pl.Int32)))

    def _drawn(self, frame: pl.DataFrame, ctx: Context) -> Int64s:
        # One draw a row, of a generator that is a hash: `Context.random` would cost 20 µs each.
        seed = f"{ctx.workflow}\0{ctx.node}\0".encode()
        position = pl.concat_str(pl.col(SOURCE), pl.lit("\0"), pl.col(OFFSET).cast(pl.String), pl.lit("\0"))
        rows = frame.select(pl.lit(seed) + position.cast(pl.Binary) + pl.col(PATH)).to_series()
        return (murmur2(rows).astype(np.int64) & 0x7FFFFFFF) % self.partitions

    def _counted(self, rows: int, ctx: Context) -> Int64s:
        store = ctx.store(STORE)
        if self.strategy == "least_loaded":
            before = self._load(store, self.partitions)
            to = least_loaded(before, rows)
            self._save(store, before + np.bincount(to, minlength=self.partitions))
            return to
        first = self._load(store, 1)[0]
        self._save(store, np.array([first + rows]))
        turn: Int64s = np.arange(first, first + rows, dtype=np.int64)
        if self.strategy == "weighted":
            return self._turns[turn % len(self._turns)]
        return (turn + ctx.partition) % self.partitions

    def _load(self, store: StateStore, numbers: int) -> Int64s:
        """As many numbers as asked for; what was never counted is 0."""
        found = store.get(_NAME)
        counts = np.zeros(numbers, np.int64)
        if found is not None:
            known = self._codec.decode([found])["n"][0].to_numpy()[:numbers]
            counts[: len(known)] = known
        return counts

    def _save(self, store: StateStore, counts: Int64s) -> None:
        store.put(_NAME, self._codec.encode(pl.DataFrame({"n": [counts.tolist()]}, schema={"n": pl.List(pl.Int64)}))[0])


def turns(weights: Sequence[int]) -> Int64s:
    """Partitions in the order in which they take turns: each as often as its weight, evenly mixed."""
    least = reduce(gcd, weights)
    of = np.array(weights, np.int64) // max(least, 1)
    partition = np.repeat(np.arange(len(of)), of)
    nth = np.concatenate([np.arange(n) for n in of])
    return partition[np.lexsort((partition, (nth + 0.5) / of[partition]))]


def least_loaded(loads: Int64s, rows: int) -> Int64s:
    """Where the next rows go when each takes the partition with the least load, and adds one to it."""
    # Rows fill partitions up to a common level: the least one under which there is room for all of them.
    in_order = np.sort(loads)
    room = in_order * np.arange(1, len(loads) + 1) - np.cumsum(in_order)  # below the i-th load
    reached = int(np.searchsorted(room, rows, side="right"))
    level = in_order[0] if not reached else -(-(rows + int(in_order[:reached].sum())) // reached)
    free = np.maximum(level - loads, 0)
    partition = np.repeat(np.arange(len(loads)), free)
    nth = np.concatenate([np.arange(n) for n in free])
    return partition[np.lexsort((partition, loads[partition] + nth))][:rows]
