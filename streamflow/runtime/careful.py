"""Rows whose state would be too large for a record of the changelog: told from the others, and failed.

A store refuses such an entry (`EntryTooLarge`). A task then goes back to its last commit and is careful from then on:
before an operator with stores takes rows, its stores are marked. Where it is refused an entry, they are rolled back
and the rows are halved until the one is alone that the entry cannot take; it fails, and leaves the state as it was. As
a stream may be cut anywhere, the others give what they would have given. Tasks that were never refused pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from streamflow.model.batch import PATH, ROW, Batch
from streamflow.operators.errors import fail, join_failed
from streamflow.sdk.errors import EntryTooLarge
from streamflow.sdk.operator import Result

Inputs = Mapping[str, Batch]


class Marked(Protocol):
    """The part of a store that is used here (see `sdk.state.TransactionalStore`)."""

    def savepoint(self) -> object: ...

    def rollback(self, savepoint: object) -> None: ...


def carefully(
    process: Callable[[Inputs], Result], inputs: Inputs, stores: Sequence[Marked], between: Callable[[], None]
) -> Result:
    """`process` the rows in as many parts as are needed. `between`: called behind each part but the last."""
    parts: list[Result] = []
    _take(process, dict(inputs), stores, between, parts)
    return behind_each_other(parts)


def _take(
    process: Callable[[Inputs], Result],
    inputs: Inputs,
    stores: Sequence[Marked],
    between: Callable[[], None],
    done: list[Result],
) -> None:
    marks = [store.savepoint() for store in stores]
    try:
        done.append(process(inputs))
        return
    except EntryTooLarge as error:
        for store, mark in zip(stores, marks, strict=True):
            store.rollback(mark)
        halves = _halves(inputs)
        if halves is None:
            said = f"{error.message} {error.mend}"
            done.append(Result(failed=join_failed([fail(rows, "too_large", said) for rows in inputs.values()])))
            return
    first, second = halves
    _take(process, first, stores, between, done)
    between()
    _take(process, second, stores, between, done)


def _halves(inputs: Inputs) -> tuple[dict[str, Batch], dict[str, Batch]] | None:
    """Rows in the order of arrival, cut in two; None for rows that arrived as one, whichever ports they came by."""
    for column in (ROW, PATH):
        if any(column not in rows.frame.columns for rows in inputs.values()):
            continue
        places = pl.concat([rows.frame[column] for rows in inputs.values()]).unique().sort()
        if len(places) > 1:
            middle = places[len(places) // 2]
            first = {p: rows.frame.select(pl.col(column) < pl.lit(middle)).to_series() for p, rows in inputs.items()}
            before = {port: rows.where(first[port]) for port, rows in inputs.items()}
            behind = {port: rows.where(~first[port]) for port, rows in inputs.items()}
            return _with_rows(before), _with_rows(behind)
    if len(inputs) > 1:
        return None
    ((port, rows),) = inputs.items()
    if len(rows) < 2:
        return None
    half = pl.Series(np.arange(len(rows)) < len(rows) // 2)
    return {port: rows.where(half)}, {port: rows.where(~half)}


def _with_rows(inputs: dict[str, Batch]) -> dict[str, Batch]:
    return {port: rows for port, rows in inputs.items() if len(rows)}


def behind_each_other(parts: Sequence[Result]) -> Result:
    """Results of parts one behind another as one."""
    if len(parts) == 1:
        return parts[0]
    outputs: dict[str, list[Batch]] = {}
    for part in parts:
        for port, rows in part.outputs.items():
            if len(rows):
                outputs.setdefault(port, []).append(rows)
    return Result(
        outputs={
            port: Batch(pl.concat([b.frame for b in rows], how="diagonal"), rows[0].schema)
            for port, rows in outputs.items()
        },
        failed=join_failed([part.failed for part in parts]),
        filtered=sum(part.filtered for part in parts),
        absorbed=sum(part.absorbed for part in parts),
        emitted=sum(part.emitted for part in parts),
        waiting=join_failed([part.waiting for part in parts]),
        woken=join_failed([part.woken for part in parts]),
        told=join_failed([part.told for part in parts]),
    )
