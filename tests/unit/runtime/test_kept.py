"""`nodes.<id>` where some items have passed the node and some have not, however the stream is cut into steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

SCHEMA = '{"type": "record", "name": "A", "fields": [{"name": "n", "type": "long"}]}'
TEXT = """
workflow: w
nodes:
  in: {{type: event, topic: in, {read}}}
  big: {{type: if, when: n > 5}}
  mark: {{type: set, keep: [n], fields: {{m: n * 2}}}}
  other: {{type: set, keep: [n], fields: {{m: n}}}}
  back: {between}
  f: {{type: set, fields: {{was: nodes.mark.m, there: nodes.mark is not None, whole: nodes.mark}}}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - in -> big
  - big.true -> mark -> back
  - big.false -> other -> back -> f -> out
"""
TYPED, UNTYPED = "schema: a.avsc, format: json", "format: json"


@pytest.mark.parametrize("read", [TYPED, UNTYPED])
@pytest.mark.parametrize("between", ["{type: no-op}", "{type: repartition, key: string(n)}"])
@pytest.mark.parametrize("steps", [[[1], [7], [2, 3], [8, 4]], [[1, 7, 2, 3, 8, 4]]])
def test_items_that_came_past_a_node_have_nothing_of_it(
    tmp_path: Path, read: str, between: str, steps: list[list[int]]
) -> None:
    (tmp_path / "a.avsc").write_text(SCHEMA)
    driver = TopologyDriver(compiled(TEXT.format(read=read, between=between), tmp_path), nodes=registry())
    for step in steps:
        driver.feed("in", [{"n": n} for n in step])
    assert driver.items("f") == [
        {"n": n, "m": n * 2, "was": n * 2, "there": True, "whole": {"n": n, "m": n * 2}}
        if n > 5
        else {"n": n, "m": n, "was": None, "there": False, "whole": None}
        for step in steps
        for n in step
    ]
