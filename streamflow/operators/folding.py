"""What every function of a window or an aggregate is to them, and what those share whose states merge in any way.

Such a function need only say how states of a group combine into one. What a group has come to at each of its rows
follows: each state takes in the one before it, then the one two before, then four, so a few rounds do for any number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import Type

GROUP: Final = "@:g"
Columns = Mapping[str, pl.Series]
Int64s = npt.NDArray[np.int64]


class Folding(Protocol):
    """One function: rows become states, states of a group combine in order into one, and a state has a result."""

    @property
    def field(self) -> str:
        """Of the result."""
        ...

    @property
    def parts(self) -> Mapping[str, Type]:
        """State columns by suffix, with their types."""
        ...

    @property
    def exact(self) -> bool:
        """Whether the order in which states combine never shows: not in the last digit, nor in that of a list."""
        ...

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        """What `unit` takes of the evaluated rows; None for a count of rows."""
        ...

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        """State columns of rows that are alone in their group."""
        ...

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        """States of groups 0 to `groups` - 1, each of which occurs. `states` are in order; `group` says whose each
        is.
        """
        ...

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        """At each state, what its group has come to with it. Rows of a group are in order, groups may alternate."""
        ...

    def result(self, state: Columns) -> pl.Series:
        """Values of groups; null where `outcome` says that there is none."""
        ...

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        """(`result`, code and message for each group, null where it has a result; None: all have one)."""
        ...


class Associative:
    """Base of functions whose states combine to the same in any grouping."""

    __slots__ = ()
    exact = True

    def result(self, state: Columns) -> pl.Series:
        raise NotImplementedError

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        return self.result(state), None

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        raise NotImplementedError

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        whose = group.to_numpy()
        order = np.argsort(whose, kind="stable")
        begins = np.flatnonzero(np.append(True, np.diff(whose[order]) != 0)) if len(order) else order
        nth = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
        now = pl.DataFrame(states)[pl.Series(order, dtype=pl.UInt32)]
        back = 1
        while back <= nth.max(initial=0):
            at = np.flatnonzero(nth >= back)
            both = now[pl.Series(np.concatenate([at - back, at]), dtype=pl.UInt32)]
            owner = pl.Series(np.tile(np.arange(len(at)), 2), dtype=pl.UInt32)
            made = pl.DataFrame(self.combined(both.to_dict(), owner, len(at))).select(now.columns)
            place = np.arange(now.height)
            place[at] = now.height + np.arange(len(at))
            now = pl.concat([now, made.cast(pl.Schema(now.schema))])[pl.Series(place, dtype=pl.UInt32)]
            back *= 2
        return now[pl.Series(np.argsort(order), dtype=pl.UInt32)].to_dict()


def lists_of(values: pl.Series, group: Int64s, groups: int) -> pl.Series:
    """A list for each group; `group` ascends, and groups without values have an empty list."""
    frame = pl.DataFrame({GROUP: group, "v": values})
    made = frame.group_by(GROUP, maintain_order=True).agg("v")
    every = pl.DataFrame({GROUP: np.arange(groups, dtype=np.int64)})
    found = every.join(made, on=GROUP, how="left", maintain_order="left")["v"]
    return found.fill_null(pl.Series([[]], dtype=found.dtype).first()) if found.has_nulls() else found


def exploded(lists: pl.Series, group: pl.Series) -> tuple[pl.Series, Int64s]:
    """(all values of lists, the group that each belongs to)."""
    count = lists.list.len().to_numpy()
    return lists.explode(empty_as_null=False, keep_nulls=False), np.repeat(group.to_numpy().astype(np.int64), count)


def singles(values: pl.Series) -> pl.Series:
    """Each value as a list of its own; null as an empty list."""
    return values.to_frame("v").select(pl.concat_list("v")).to_series().list.drop_nulls()
