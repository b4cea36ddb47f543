"""Counts what was noted of a step by execution: executions get numbers, and rows are counted by these in columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.model.again import AGAIN_NODE, UNDONE
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, EXECUTION, ROW, Batch
from streamflow.sdk.operator import NO_ROW

Fate = Literal["continued", "to_error_port", "dead_lettered", "cancelled", "timed_out", "outrun"]
Counter = Literal[
    "rows_in", "rows_out", "filtered", "absorbed", "emitted", "continued", "to_error_port", "dead_lettered",
    "cancelled", "timed_out", "outrun", "released", "received", "sent", "begun", "resumed", "undone",
]  # fmt: skip
Ints = NDArray[np.int64]
Ids = Callable[[Ints], pl.Series]  # executions of rows, by `@row`

_PARENT_BYTES: Final = 4  # the last index of a path is the child's own
_ERRORS = (ERROR_CODE, ERROR_MESSAGE, ERROR_NODE)


@dataclass(frozen=True, slots=True)
class Who:
    """Whose some rows are: `@row`, `@execution` where that is needed to know it, and `@path` where it is there."""

    rows: pl.Series
    ids: pl.Series | None
    paths: pl.Series | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """One call of an operator: whose rows went in and came out, and what it said of all of them together."""

    node: str
    inputs: tuple[Who, ...]
    outputs: tuple[Who, ...]
    failed: Who | None
    filtered: int
    absorbed: int
    emitted: int
    waiting: Who | None = None  # rows absorbed, where others were filtered
    woken: Who | None = None  # rows that wait no longer, where outputs and failures do not tell


@dataclass(slots=True)
class Noted:
    """What a step did. `of_rows`: `@row` tells whose a row is, and `entered` or the task whose that one is."""

    of_rows: bool
    errors_only: bool
    entered: list[tuple[str, Who]] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    failed: list[tuple[str, Fate, Batch]] = field(default_factory=list)
    unwritten: list[Batch] = field(default_factory=list)
    lost: list[tuple[str, Fate, pl.DataFrame]] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    samples: list[tuple[str, str, Who, Batch]] = field(default_factory=list)  # node, port, rows; only where asked for
    headers: list[tuple[Who, pl.Series]] = field(default_factory=list)  # of rows of triggers; only where asked for

    @property
    def failures(self) -> bool:
        return bool(self.failed or self.unwritten or self.lost)

    @property
    def given_again(self) -> bool:
        return any(node in (AGAIN_NODE, UNDONE) for node, _ in self.entered)

    def __bool__(self) -> bool:
        return bool(self.entered or self.ran or self.ended or self.failures)


@dataclass(slots=True)
class Counts:
    """What became of some executions in one step."""

    executions: pl.Series  # ids, String
    rows: dict[tuple[str, Counter], Ints]  # by node (topic for `received` and `sent`), one number an execution
    woken: NDArray[np.bool_]  # rows of it came out of state
    errors: pl.DataFrame  # `number` (of the execution) and the first of its errors
    tasks: Ints  # where its end has come: to how many tasks of the stage it does; else 0
    samples: dict[int, list[dict[str, str]]] = field(default_factory=dict)  # by number: node, port, item
    context: pl.DataFrame | None = None  # user, session and trace of each; None: nobody asked

    def __len__(self) -> int:
        return len(self.executions)


class Counting:
    """Counts one step."""

    def __init__(self, noted: Noted, ids: Ids | None, topics: Mapping[str, str], sinks: Mapping[str, str]) -> None:
        """`topics`: of nodes whose rows come from stages before. `sinks`: of nodes whose rows go to stages behind."""
        self._noted, self._topics, self._sinks = noted, topics, sinks
        extra = [frame[EXECUTION] for _, _, frame in noted.lost]
        extra.append(pl.Series(list(noted.ended), dtype=pl.String))
        self._ids, size = ids, _size(noted.entered)
        # Numbers below `_count` are rows that are executions of their own; those behind are named.
        self._count = 0 if ids is None else size
        self._names = _distinct([*([] if ids is not None else _told(noted)), *extra])
        self._known = pl.Enum(self._names)
        self._n = self._count + len(self._names)
        # The execution of each row that entered, by `@row`; None: rows do not tell.
        self._of_row: Ints | None = None
        if ids is not None:
            self._of_row = np.arange(size)
        elif noted.of_rows:
            self._of_row = self._by_entry(size)
        # Those that leave a record, where only failures do: nothing is added up of the others. None: of all.
        self._only = self._failing() if noted.errors_only else None
        sought = np.zeros(0, np.int64) if self._only is None else self._only
        self._sought = _below(sought, self._count).astype(np.uint32)  # rows among them
        self._rows: dict[tuple[str, Counter], Ints] = {}
        self._woken = np.zeros(self._n if self._only is None else len(self._only), np.bool_)

    def _by_entry(self, size: int) -> Ints:
        of_row = np.full(size, self._n, np.int64)
        for _, who in self._noted.entered:
            if who.ids is not None:
                of_row[who.rows.to_numpy()] = self._numbers(who.ids)
        return of_row

    def _numbers(self, ids: pl.Series) -> Ints:
        """Numbers of executions by their ids; `_n` stands for none."""
        numbers = ids.cast(self._known).to_physical().cast(pl.Int64) + self._count
        found: Ints = numbers.fill_null(self._n).to_numpy()
        return found

    def _of(self, who: Who) -> Ints:
        if self._of_row is None:
            # A plug-in's operator may not carry the column on: then its rows are nobody's.
            return np.full(len(who.rows), self._n) if who.ids is None else self._numbers(who.ids)
        rows = who.rows.to_numpy()
        if not len(rows) or int(rows.max()) < len(self._of_row):
            found: Ints = rows if self._ids is not None else self._of_row[rows]
            return found
        safe = np.minimum(rows, len(self._of_row) - 1).astype(np.int64)
        return np.where(rows < len(self._of_row), self._of_row[safe], self._n)

    def _failing(self) -> Ints:
        """Numbers of the executions with a failure, or of which a failure is made good, ascending."""
        frames = [rows.frame for *_, rows in self._noted.failed] + [rows.frame for rows in self._noted.unwritten]
        numbers = [self._of(_whose(frame)) for frame in frames]
        numbers += [self._numbers(frame[EXECUTION]) for *_, frame in self._noted.lost]
        numbers += [self._of(who) for node, who in self._noted.entered if node in (AGAIN_NODE, UNDONE)]
        return _below(np.unique(np.concatenate([np.zeros(0, np.int64), *numbers])), self._n)

    def _sum(self, who: Sequence[Who]) -> Ints:
        """How many of these rows each execution has."""
        total = np.zeros(self._n, np.int64)
        for one in who:
            total += np.bincount(self._of(one), minlength=self._n + 1)[: self._n]
        return total

    def _sum_told(self, who: Sequence[Who]) -> Ints:
        """The same, of executions that leave a record only."""
        if self._only is None or self._ids is None or not all(one.rows.is_sorted() for one in who):
            return self._told_of(self._sum(who))
        total = np.zeros(len(self._only), np.int64)  # rows are numbers, in order: those few are looked up
        for rows in (one.rows.to_numpy() for one in who):
            found = np.searchsorted(rows, self._sought, "right") - np.searchsorted(rows, self._sought)
            total[: len(found)] += found
        return total

    def _told_of(self, rows: Ints) -> Ints:
        return rows if self._only is None else rows[self._only]

    def _tally(self, numbers: Ints) -> Ints:
        """How often each execution is named by rows that failed."""
        if self._only is None:
            return np.bincount(numbers, minlength=self._n + 1)[: self._n]
        return np.bincount(np.searchsorted(self._only, _below(numbers, self._n)), minlength=len(self._only))

    def _add(self, place: str, counter: Counter, rows: Ints) -> None:
        before = self._rows.get((place, counter))
        self._rows[place, counter] = rows if before is None else before + rows

    def counts(self) -> Counts:
        noted = self._noted
        for node, who in noted.entered:
            self._enter(node, self._sum_told([who]))
        for ran in noted.ran:
            self._run(ran)
        errors = [self._fail(node, fate, rows) for node, fate, rows in noted.failed]
        for rows in noted.unwritten:
            for (node,), part in rows.frame.partition_by(ERROR_NODE, as_dict=True).items():
                errors.append(self._fail(str(node), "dead_lettered", Batch(part, rows.schema)))
                self._unsend(str(node), errors[-1]["number"])
        for node, fate, frame in noted.lost:
            numbers = self._numbers(frame[EXECUTION])
            lost = self._tally(numbers)
            for counter in ("rows_in", fate):
                self._add(node, counter, lost)
            self._add(node, "begun", lost)
            errors.append(_told_errors(numbers, frame))
        tasks = np.zeros(self._n, np.int64)
        for execution, count in noted.ended.items():
            tasks[self._numbers(pl.Series([execution], dtype=pl.String))] = count
        return self._picked(_first(errors), tasks)

    def _enter(self, node: str, rows: Ints) -> None:
        if node in self._topics:
            self._add(self._topics[node], "received", rows)
            return
        if node == AGAIN_NODE:
            self._add(node, "resumed", rows)
            return
        if node == UNDONE:
            self._add(node, "undone", rows)
            self._woken |= rows > 0  # it may have been over
            return
        for counter in ("begun", "rows_in", "rows_out"):
            self._add(node, counter, rows)

    def _run(self, ran: Ran) -> None:
        if not (ran.filtered or ran.absorbed or ran.emitted):
            self._add_run(ran, self._sum_told(ran.inputs), self._sum_told(ran.outputs))
            return
        # Whose rows stayed is known of all executions together.
        into, out = self._sum(ran.inputs), self._sum(ran.outputs)
        self._add_run(ran, self._told_of(into), self._told_of(out))
        if ran.filtered or ran.absorbed:
            stayed = into if ran.failed is None else into - self._sum([ran.failed])
            left = stayed - self._forwarded(ran, stayed, out)
            if ran.waiting is not None:
                waiting = self._sum([ran.waiting])
                self._add(ran.node, "absorbed", self._told_of(waiting))
                self._add(ran.node, "filtered", self._told_of(np.maximum(left - waiting, 0)))
            else:
                self._add(ran.node, "absorbed" if ran.absorbed else "filtered", self._told_of(left))
        if ran.emitted:
            emitted = self._told_of(self._emitted(ran, out))
            self._add(ran.node, "emitted", emitted)
            if ran.woken is None:
                self._add(ran.node, "released", emitted)
            self._woken |= emitted > 0

    def _add_run(self, ran: Ran, into: Ints, out: Ints) -> None:
        if ran.inputs:
            self._add(ran.node, "rows_in", into)
        if ran.outputs:
            self._add(ran.node, "rows_out", out)
            if ran.node in self._sinks:
                self._add(self._sinks[ran.node], "sent", out)
        if ran.woken is not None:
            self._add(ran.node, "released", self._sum_told([ran.woken]))
        elif not ran.inputs and ran.failed is not None:
            self._add(ran.node, "released", self._sum_told([ran.failed]))
        if self._of_row is None and ran.outputs:
            self._woken |= (out > 0) & (into == 0)

    def _forwarded(self, ran: Ran, stayed: Ints, out: Ints) -> Ints:
        """Rows that went in and have children, by execution. `stayed`: those that did not fail."""
        count = int(stayed.sum()) - ran.filtered - ran.absorbed
        if count <= 0 or not ran.outputs:
            return np.zeros(self._n, np.int64)
        same = bool((out[stayed == 0] == 0).all())  # no execution begins here
        one_each = count == sum(len(who.rows) for who in ran.outputs) - ran.emitted
        if one_each and same and (out <= stayed).all():
            return out
        return _to_sum(self._parents(ran, same), stayed, count)

    def _parents(self, ran: Ran, same: bool) -> Ints:
        """Rows that children name as theirs: by arrival, by execution unless one begins here, and among siblings by
        path.
        """
        into = pl.concat([pl.DataFrame({"r": w.rows, "n": self._of(w), "p": _path(w)}) for w in ran.inputs])
        out = pl.concat([pl.DataFrame({"r": w.rows, "n": self._of(w), "p": _path(w)}) for w in ran.outputs])
        if ran.emitted:
            out = out.filter(pl.col("r") != NO_ROW)
        by = ["r", "n"] if same else ["r"]
        if into.select(by).is_duplicated().any():
            parent = pl.col("p").bin.head(pl.max_horizontal(pl.col("p").bin.size().cast(pl.Int64) - _PARENT_BYTES, 0))
            out, by = pl.concat([out, out.with_columns(parent)]), [*by, "p"]
        found = into.join(out.select(by).unique(), on=by, how="semi")
        return np.bincount(found["n"].to_numpy(), minlength=self._n + 1)[: self._n]

    def _emitted(self, ran: Ran, out: Ints) -> Ints:
        """Rows that came out of state, by execution."""
        if not ran.inputs or ran.emitted == sum(len(who.rows) for who in ran.outputs):
            return out
        rows = [
            Who(w.rows.filter(old), None if w.ids is None else w.ids.filter(old))
            for w in ran.outputs
            if (old := w.rows == NO_ROW).any()
        ]
        return self._sum(rows)

    def _fail(self, node: str, fate: Fate, rows: Batch) -> pl.DataFrame:
        numbers = self._of(_whose(rows.frame)).astype(np.int64)
        self._add(node, fate, self._tally(numbers))
        if fate == "outrun":  # which is no error of the execution
            return _told_errors(numbers[:0], rows.frame[:0])
        return _told_errors(numbers, rows.frame)

    def _unsend(self, node: str, numbers: pl.Series) -> None:
        """Rows that did not get to their topic after all."""
        gone = -self._tally(numbers.to_numpy())
        self._add(node, "rows_out", gone)
        if node in self._sinks:
            self._add(self._sinks[node], "sent", gone)

    def _picked(self, errors: pl.DataFrame, tasks: Ints) -> Counts:
        """Only executions of this step that leave a record."""
        told, woken, kept = self._rows, self._woken, self._only
        if kept is None:
            picked = tasks > 0
            for rows in told.values():
                picked |= rows > 0
            kept = np.flatnonzero(picked)
            told, woken = {name: rows[kept] for name, rows in told.items()}, woken[kept]
        self._place = np.full(self._n + 1, -1, np.int64)
        self._place[kept] = np.arange(len(kept))
        place = self._place[errors["number"].to_numpy()]
        errors = _told_errors(place, errors)
        return Counts(
            executions=self._named(kept),
            rows={name: rows for name, rows in told.items() if rows.any()},
            woken=woken,
            errors=errors if (place >= 0).all() else errors.filter(pl.Series(place >= 0)),
            tasks=tasks[kept],
        )

    def place(self, who: Who) -> Ints:
        """Which entry of the counts each row belongs to; -1: none. Once these are made."""
        found: Ints = self._place[self._of(who)]
        return found

    def _named(self, numbers: Ints) -> pl.Series:
        """Ids by number: those that rows stand for, then those that are named."""
        own = numbers[numbers < self._count]
        named = self._names.gather(numbers[len(own) :] - self._count)
        if self._ids is None or not len(own):
            return named
        return pl.concat([self._ids(own), named]) if len(named) else self._ids(own)


def _to_sum(rows: Ints, most: Ints, total: int) -> Ints:
    """Rows by execution, at most `most`, so that they are `total` together: where rows of one arrival met that are
    told apart by nothing, some execution has to have those that are too few or too many.
    """
    rows = np.minimum(rows, most)
    missing = total - int(rows.sum())
    room = most - rows if missing > 0 else rows
    moved = np.clip(abs(missing) - (np.cumsum(room) - room), 0, room)
    return rows + moved if missing > 0 else rows - moved


def _size(entered: Sequence[tuple[str, Who]]) -> int:
    """Numbers of rows that entered lie below it."""
    return max((int(who.rows.to_numpy().max()) + 1 for _, who in entered), default=0)


def _told(noted: Noted) -> list[pl.Series]:
    """Ids that rows have with them."""
    whose = [who for _, who in noted.entered]
    if not noted.of_rows:
        whose += [
            who for ran in noted.ran for who in (*ran.inputs, *ran.outputs, *_some(ran.failed), *_some(ran.woken))
        ]
    return [who.ids for who in whose if who.ids is not None]


def _whose(frame: pl.DataFrame) -> Who:
    return Who(frame[ROW], frame[EXECUTION] if EXECUTION in frame.columns else None)


def _below(numbers: Ints, end: int) -> Ints:
    return numbers[numbers < end]


def _some(who: Who | None) -> tuple[Who, ...]:
    return () if who is None else (who,)


def _path(who: Who) -> pl.Series:
    return pl.Series([b""], dtype=pl.Binary).new_from_index(0, len(who.rows)) if who.paths is None else who.paths


def _distinct(ids: Sequence[pl.Series]) -> pl.Series:
    """Ids in order of first appearance; rows without one are nobody's."""
    if not any(map(len, ids)):
        return pl.Series([], dtype=pl.String)
    return pl.concat([pl.Series([], dtype=pl.String), *ids]).unique(maintain_order=True).drop_nulls()


def _told_errors(numbers: Ints, frame: pl.DataFrame) -> pl.DataFrame:
    """Errors and whose they are."""
    return pl.DataFrame([pl.Series("number", numbers, dtype=pl.Int64), *(frame[column] for column in _ERRORS)])


def _first(errors: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The first error of each execution, in the order in which nodes met them."""
    if not errors:
        return pl.DataFrame(schema={"number": pl.Int64, **dict.fromkeys(_ERRORS, pl.String)})
    every = pl.concat(errors)
    _, at = np.unique(every["number"].to_numpy(), return_index=True)
    return every if len(at) == len(every) else every[np.sort(at)]
