"""Functions of windows whose states are made row by row: by an expression, or by a user's Python.

What such a function makes of a row depends on the rows before it, and may fail there. A row that fails is left out of
all of its windows and of all functions, as if it had never come: so rows are taken before anything else is folded, and
the others are folded again without those that failed.

Windows with edges of their own step from state to state (`stepped`). Sessions and sliding windows put states together
that were made apart: there each row is first a state of its own, and states of a group merge in order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE
from streamflow.model.types import STRING, Type, polars_dtype
from streamflow.operators.folding import Columns, Int64s

Bools = npt.NDArray[np.bool_]
Why = tuple[str, str]  # code and message of a row that failed
_MARK: Final = ": "  # between them where a state holds both


class Refused(Exception):
    """Rows that a function cannot take, by number: `wrong` is in their order."""

    def __init__(self, wrong: Mapping[int, Why]) -> None:
        super().__init__(f"{len(wrong)} rows")
        self.wrong = dict(sorted(wrong.items()))


@dataclass(slots=True)
class Taken:
    """What a function made of rows. `at`: the state behind each row, or, where nobody asked for that, what its group
    came to; `after`: that of each group; `wrong`: rows that failed, which left their group as it was.
    """

    at: pl.Series
    after: pl.Series
    wrong: dict[int, Why]


@dataclass(frozen=True, slots=True)
class Stepwise(ABC):
    """Base of functions that go row by row; a `Folding` whose states are made before it is asked for any.

    `field`: of the result. `column`: where `stepped` puts states. State: `v`, and `e`, which is null but for states in
    memory that could not be merged: code and message.
    """

    field: str
    column: str

    @property
    def exact(self) -> bool:
        return False  # neither order nor grouping may change

    @property
    @abstractmethod
    def state(self) -> Type:
        """Type of `v`."""

    @property
    @abstractmethod
    def merges(self) -> bool:
        """Whether states that were made apart are put together."""

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Columns that `take` needs of rows and their evaluated values."""

    @abstractmethod
    def take(self, rows: pl.DataFrame, group: Int64s, fresh: Sequence[bool], before: pl.Series, *, each: bool) -> Taken:
        """`group`: index into `before` of each row; `fresh`: where a group begins."""

    @abstractmethod
    def merged(self, before: pl.Series, group: Int64s, states: pl.Series) -> tuple[pl.Series, dict[int, Why]]:
        """(what each group has come to with each of `states`, where it could not take it in). `before`: of groups."""

    @abstractmethod
    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]: ...

    def result(self, state: Columns) -> pl.Series:
        return self.outcome(state)[0]

    @property
    def parts(self) -> dict[str, Type]:
        return {"v": self.state, "e": STRING.optional()}

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows[self.column]

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        assert values is not None
        return {"v": values, "e": pl.repeat(None, len(ts), dtype=pl.String, eager=True)}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        last = np.zeros(groups, np.int64)
        last[group.to_numpy()] = np.arange(len(group))
        return {part: s.gather(last) for part, s in self.running(states, group).items()}

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        if not self.merges:
            return {part: states[part] for part in self.parts}  # each holds what came before it
        whose = group.to_numpy().astype(np.int64)
        _, first, dense = np.unique(whose, return_index=True, return_inverse=True)
        others = np.delete(np.arange(len(whose)), first)
        if not len(others):
            return {part: states[part] for part in self.parts}
        v = states["v"]
        made, wrong = self.merged(v.gather(first), dense[others], v.gather(others))
        place = np.empty(len(whose), np.int64)
        place[first], place[others] = np.arange(len(first)), len(first) + np.arange(len(others))
        values = pl.concat([v.gather(first), made.cast(v.dtype)]).gather(place)
        if not wrong:
            return {"v": values, "e": states["e"]}
        told = pl.Series([None] * len(whose), dtype=pl.String)
        told = told.scatter([int(others[i]) for i in wrong], [_MARK.join(why) for why in wrong.values()])
        frame = pl.DataFrame({"g": dense, "e": told})
        return {"v": values, "e": frame.select(pl.col("e").forward_fill().over("g")).to_series()}


def unmerged(state: Columns) -> pl.DataFrame | None:
    """Why states have no value that could not be merged; None: all have one."""
    if not state["e"].is_not_null().any():
        return None
    parts = state["e"].str.splitn(_MARK, 2).struct
    return pl.DataFrame([parts.field("field_0").alias(ERROR_CODE), parts.field("field_1").alias(ERROR_MESSAGE)])


def stepped(
    folds: Sequence[Stepwise],
    rows: pl.DataFrame,
    of_row: Int64s,
    group: Int64s,
    before: Sequence[pl.Series | None],
    known: Int64s,
    groups: int,
    *,
    each: bool,
) -> list[pl.Series]:
    """States of each function for pairs of a row and its group: `of_row` ascends, as rows arrived.

    `before`: of each function, the states of the groups `known`. `each`: whether the state behind each pair is asked
    for, or only that of its group in the end.

    Raises Refused with the rows that fail. What the others come to is not known then.
    """
    whole = [_whole(fold, old, known, groups) for fold, old in zip(folds, before, strict=True)]
    there = np.zeros(groups, np.bool_)
    there[known] = True
    steps = _Steps(folds, rows, of_row, group, whole, there, each)
    made = steps.take(0, len(of_row))
    if steps.failed:
        raise Refused(steps.failed)
    assert made is not None
    return made


def _whole(fold: Stepwise, old: pl.Series | None, known: Int64s, groups: int) -> pl.Series:
    nothing = pl.Series([None], dtype=polars_dtype(fold.state)).new_from_index(0, groups)
    return nothing if old is None else _placed(nothing, known, old)


def _placed(into: pl.Series, at: Int64s, values: pl.Series) -> pl.Series:
    """`into` with `values` at these places."""
    place = np.arange(len(into))
    place[at] = len(into) + np.arange(len(at))
    return pl.concat([into, values.cast(into.dtype)]).gather(place)


@dataclass(slots=True)
class _Steps:
    """Rows on their way through functions. Where a row that fails is of several windows, or there are several
    functions, what has been made with it in the others is void: then rows are halved until it is alone.
    """

    folds: Sequence[Stepwise]
    rows: pl.DataFrame
    of_row: Int64s
    group: Int64s
    states: list[pl.Series]  # of each function, by group
    known: Bools
    each: bool
    failed: dict[int, Why]

    def __init__(
        self,
        folds: Sequence[Stepwise],
        rows: pl.DataFrame,
        of_row: Int64s,
        group: Int64s,
        states: list[pl.Series],
        known: Bools,
        each: bool,
    ) -> None:
        self.folds, self.rows, self.of_row, self.group = folds, rows, of_row, group
        self.states, self.known, self.each, self.failed = states, known, each, {}

    def take(self, first: int, stop: int) -> list[pl.Series] | None:
        """States for these pairs; None where some of their rows failed."""
        whose, begins, local = np.unique(self.group[first:stop], return_index=True, return_inverse=True)
        fresh = np.zeros(stop - first, np.bool_)
        fresh[begins] = ~self.known[whose]
        rows, flags = self.rows[first:stop], fresh.tolist()
        done = [
            fold.take(rows, local, flags, states.gather(whose), each=self.each)
            for fold, states in zip(self.folds, self.states, strict=True)
        ]
        wrong: dict[int, Why] = {}
        for taken in done:
            wrong = {first + i: why for i, why in taken.wrong.items()} | wrong
        source = self.of_row[first:stop]
        alone = len(self.folds) == 1 and len(np.unique(source)) == len(source)
        if wrong and not alone:
            if source[0] != source[-1]:
                # Between two rows, as near to the middle as may be.
                middle = int(np.searchsorted(source, source[len(source) // 2]))
                middle = middle or int(np.searchsorted(source, source[0], side="right"))
                self.take(first, first + middle)
                self.take(first + middle, stop)
                return None
            self.failed[int(source[0])] = wrong[min(wrong)]
            return None
        self.failed |= {int(self.of_row[i]): why for i, why in wrong.items()}
        taken_in = np.ones(stop - first, np.bool_)
        taken_in[[i - first for i in wrong]] = False
        grown = np.unique(local[taken_in])
        self.known[whose[grown]] = True
        self.states = [_placed(s, whose[grown], t.after.gather(grown)) for s, t in zip(self.states, done, strict=True)]
        return None if wrong else [taken.at for taken in done]
