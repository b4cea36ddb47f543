"""What a node keeps, read from its changelogs: committed, whoever runs the workflow, and wherever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import polars as pl

from streamflow.model.positions import TopicPartition
from streamflow.runtime.build import Functions, build_graph
from streamflow.runtime.context import StepClock
from streamflow.sdk.log import Log
from streamflow.sdk.registry import NodeRegistry
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, ReadsState
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from streamflow.topology.plan import StorePlan, Topology

_MEMORY_BYTES_MAX = 1 << 40  # a command for people: it ends where memory does


def stores_of(topology: Topology, node: str) -> list[StorePlan]:
    """The stores of a node; none if it keeps no state here."""
    return [store for stage in topology.stages for store in stage.stores if store.node == node]


async def state_rows(
    topology: Topology, node: str, log: Log, nodes: NodeRegistry, functions: Functions
) -> AsyncIterator[tuple[int, pl.DataFrame]]:
    """(partition, rows as `ReadsState` gives them) of each partition whose changelogs exist.

    Each changelog is read as it is at one moment; those of several partitions, or stores, at moments of their own.

    Raises:
        StateError: a changelog holds damaged records.
        CodecError: state of another version of the workflow.
    """
    stage = next(stage for stage in topology.stages if any(store.node == node for store in stage.stores))
    plans, existing = stores_of(topology, node), await log.topics()
    widths = [existing[plan.changelog].partitions for plan in plans if plan.changelog in existing]
    for partition in range(max(widths, default=0)):
        graph = build_graph(topology, stage, nodes, {}, StepClock(), partition=partition, functions=functions)
        operator = graph.operator(node)
        entries: dict[str, Sequence[tuple[bytes, bytes]]] = {}
        for plan in plans:
            store = MemoryStore(plan.name, size_bytes_max=_MEMORY_BYTES_MAX)
            if plan.changelog in existing and partition < existing[plan.changelog].partitions:
                await restore(store, log, TopicPartition(plan.changelog, partition))
            entries[plan.name] = list(store.scan())
        rows = operator.read_state(entries) if isinstance(operator, ReadsState) else _plain(entries)
        yield partition, rows.sort(STATE_FROM, STATE_KEY, nulls_last=True, maintain_order=True)


def _plain(stores: dict[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
    """Entries as they are, where nobody says what they mean."""
    found = [(name, key, value) for name, entries in stores.items() for key, value in entries]
    rows = pl.DataFrame(found, schema={"store": pl.String, "entry": pl.Binary, "value": pl.Binary}, orient="row")
    nothing = {STATE_KEY: pl.Binary, STATE_FROM: pl.Int64, STATE_TO: pl.Int64}
    return rows.select(*(pl.lit(None, dtype=dtype).alias(name) for name, dtype in nothing.items()), pl.all())
