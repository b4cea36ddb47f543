"""Items that were put aside and whose execution ends: they are taken out of their queues, which go on without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import Schema
from streamflow.operators.control import out_of_time
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.waiting import ended_together, over_among, portions
from streamflow.runtime.parked import ParkedItems
from streamflow.sdk.operator import Context, EndedExecutions

_NUMBER: Final = "@number"
Place = tuple[bytes, int]  # a queue, and the number of an item in it


def of_executions(
    parked: ParkedItems, rows: KeptRows, schema: Schema, executions: EndedExecutions, ctx: Context
) -> Batch | None:
    """Items of executions that end, as `Result.ended` has them; all that waits is looked through."""
    ended: list[Batch] = []
    gone: list[Place] = []
    for entries in portions(((queue, number), [item]) for queue, number, item in parked.items()):
        over = over_among(rows, [item for _, (item,) in entries], schema, executions)
        if over is not None:
            ended.append(over.rows)
            gone += [entries[number][0] for number in over.numbers]
    if gone:
        _drop(parked, gone, ctx.now_ms)
    return ended_together(ended, ctx.watermark_ms)


def next_out_of_time(
    parked: ParkedItems, runs: Mapping[bytes, int], rows: KeptRows, schema: Schema, now_ms: int
) -> pl.DataFrame | None:
    """Of the items that would be tried next (`runs`: how many, by queue) those whose execution has had its time."""
    places = [(name, number) for name, most in runs.items() for number in parked.queues[name].numbers(most)]
    items = [item for name, most in runs.items() for item in parked.first(parked.queues[name], most)]
    late = out_of_time(Batch(rows.decode(items).with_row_index(_NUMBER), schema), now_ms)[1]
    if late is None:
        return None
    _drop(parked, (places[number] for number in late.frame[_NUMBER].to_list()), now_ms)
    return late.frame.drop(_NUMBER)


def _drop(parked: ParkedItems, places: Iterable[Place], now_ms: int) -> None:
    gone: dict[bytes, set[int]] = {}
    for queue, number in places:
        gone.setdefault(queue, set()).add(number)
    parked.drop(gone, now_ms)
