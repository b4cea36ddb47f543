"""Test cases of workflows: what is expected to stop must stop."""

from __future__ import annotations

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.cases import run_case
from streamflow.workflow.load import load_text

WORKFLOW = """
workflow: stops
nodes:
  start: {type: event, topic: in, format: json}
  each: {type: set, fields: {each: 12 // long(n)}, on_error: stop}
  out: {type: publish, topic: out, format: json}
connections: [start -> each -> out]
tests:
  - {name: case, input: {start: [ITEMS]}, expect: {EXPECT}}
"""


@pytest.mark.parametrize(
    ("items", "expect", "said"),
    [
        ("{n: 0}", "stopped: true", ""),
        ("{n: 3}", "stopped: true", "the workflow was to stop, and did not"),
        ("{n: 3}", "stopped: []", "the workflow was to stop, and did not"),
        ("{n: 3}", "out: [{n: 3, each: 4}]", ""),
        ("{n: 0}", "out: []", "the workflow stopped"),
        ("{n: 3}", "out: [{n: 3, each: 4}], stopped: true", "the workflow was to stop, and did not"),
    ],
)
def test_a_case_that_expects_a_stop_fails_where_nothing_stops(items: str, expect: str, said: str) -> None:
    document, findings = load_text(WORKFLOW.replace("ITEMS", items).replace("EXPECT", expect))
    assert document is not None, findings
    topology, findings = compile_document(document, registry())
    assert topology is not None, findings
    differences = run_case(document.tests[0], topology, nodes=registry())
    assert len(differences) == bool(said), differences
    assert all(said in one for one in differences)
