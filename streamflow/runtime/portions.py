"""A large batch of untyped items goes through a stage in portions, so that nodes can hand parsed JSON on.

Objects of all rows of a step at once would take many times the memory of their texts; those of some thousand rows are
small, near the processor, and gone before the next ones come. A physical batch is never observable, so portions are
not either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from streamflow.model.batch import Batch
from streamflow.topology.plan import StagePlan

PORTION_ROWS: Final = 16_384


def worth_it(stage: StagePlan) -> bool:
    """Whether several nodes of a stage read untyped items, and none has a cost for each call.

    Stores are written once a batch, and a retry waits once a batch: with those the batch stays whole.
    """
    written = {s.wire.node for s in stage.sinks}
    readers = [n for n in stage.nodes if n.id not in written and any(t.kind == "any" for t in n.inputs.values())]
    return len(readers) > 1 and not stage.stores and all(n.errors.retry.attempts <= 1 for n in stage.nodes)


def portions(batch: Batch) -> Iterator[Batch]:
    """The batch in portions whose parsed items are kept."""
    for at in range(0, len(batch), PORTION_ROWS):
        yield Batch(batch.frame.slice(at, PORTION_ROWS), batch.schema, {})


def joined(batches: list[Batch]) -> list[Batch]:
    """Rows that portions of one batch gave, as few batches in the same order; nothing parsed is kept."""
    runs: list[list[Batch]] = []
    for batch in batches:
        # A column may be absent where all rows came another way: such frames do not go together.
        if runs and batch.schema == runs[-1][0].schema and batch.frame.schema == runs[-1][0].frame.schema:
            runs[-1].append(batch)
        else:
            runs.append([batch])
    return [Batch(pl.concat([b.frame for b in run], rechunk=True), run[0].schema) for run in runs]
