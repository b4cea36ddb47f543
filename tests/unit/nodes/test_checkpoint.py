"""What records items before a node: whole, each once, however the stream is cut."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.batch import EXECUTION, PATH
from streamflow.model.checkpoint import CHECKPOINT
from streamflow.model.types import LONG, STRING, record_of
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.operators.entered import Entered, enter, keep, travelling
from streamflow.testing.operator_kit import KitContext, Ran, run_node

SCHEMA = record_of({"n": LONG, "name": STRING.optional()})
ITEMS: list[dict[str, Any]] = [{"n": n, "name": None if n % 3 == 0 else f"item {n}"} for n in range(40)]


def recorded(ran: Ran) -> list[tuple[Any, ...]]:
    return list(ran.outputs["records"].select(f.name for f in CHECKPOINT.fields).iter_rows())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([None, 1_000]))
def test_any_cut_records_the_same(seed: int, interval_ms: int | None) -> None:
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(1, len(ITEMS)), draw.randrange(6)))
    node = Checkpoint(interval_ms=interval_ms)
    whole = run_node(node, ITEMS, schema=SCHEMA)
    parts = run_node(node, ITEMS, schema=SCHEMA, cuts=cuts, aborted=[0], context=KitContext())
    assert recorded(parts) == recorded(whole)
    assert parts.items("out") == whole.items("out") == ITEMS
    assert len(recorded(whole)) == len({row[0] for row in recorded(whole)}) == len(ITEMS)


def test_what_is_recorded_enters_again_as_it_was() -> None:
    rows = recorded(run_node(Checkpoint(), ITEMS, schema=SCHEMA))
    kept = [Entered(row[-2], row[-1]) for row in rows]
    batch = enter(kept, SCHEMA, {})
    assert batch.frame.select("n", "name").to_dicts() == ITEMS
    assert batch.frame[EXECUTION].to_list() == [row[0] for row in rows]
    assert {PATH, EXECUTION} <= travelling(kept[0]).keys()
    assert keep(batch, {}) == keep(enter(keep(batch, {}), SCHEMA, {}), {})
