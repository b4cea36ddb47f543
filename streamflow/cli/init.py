"""`streamflow init`: a small workflow that runs at once, to start from."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.output import fail

_WORKFLOW = """\
# {name}: reads orders, prices them, and tells large ones from the rest.
workflow: {name}
nodes:
  placed: {{type: event, topic: {name}.orders, schema: order.avsc, key: customer}}
  priced: {{type: set, fields: {{total: amount * qty}}}}
  large:  {{type: if, when: 'total > 500 and country in ["DE", "FR"]'}}
  alert:  {{type: publish, topic: {name}.large-orders}}
  rest:   {{type: publish, topic: {name}.other-orders}}
connections:
  - placed -> priced -> large
  - large.true -> alert
  - large.false -> rest
tests:
  - name: a large order from Germany raises an alert
    input:
      placed: [{{id: o-1, customer: ada, country: DE, amount: 300.0, qty: 2}}]
    expect:
      alert: [{{id: o-1, customer: ada, country: DE, amount: 300.0, qty: 2, total: 600.0}}]
      rest: []
"""
_SCHEMA = """\
{
  "type": "record",
  "name": "Order",
  "fields": [
    {"name": "id", "type": "string"},
    {"name": "customer", "type": "string"},
    {"name": "country", "type": "string"},
    {"name": "amount", "type": "double"},
    {"name": "qty", "type": "int"}
  ]
}
"""
_ORDERS = """\
{"id": "o-1", "customer": "ada", "country": "DE", "amount": 300.0, "qty": 2}
{"id": "o-2", "customer": "ben", "country": "US", "amount": 900.0, "qty": 1}
{"id": "o-3", "customer": "cleo", "country": "FR", "amount": 12.5, "qty": 4}
"""


def init(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the workflow and of the folder to make; may be a path.")
    ],
) -> None:
    """Make a folder with a small workflow that runs at once.

    It holds workflow.yaml with a test case, a schema, and some input.
    """
    folder = Path(name)
    called = folder.resolve().name  # so that `.` has a name too
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,99}", called):
        fail(f"{called!r} is no name for a workflow.", mend="Use letters, digits, - and _, a letter first.", code=2)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"{str(folder)!r} exists and is not an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    workflow = folder / "workflow.yaml"
    workflow.write_text(_WORKFLOW.format(name=called), encoding="utf-8")
    (folder / "order.avsc").write_text(_SCHEMA, encoding="utf-8")
    (folder / "orders.jsonl").write_text(_ORDERS, encoding="utf-8")
    quoted = {key: shlex.quote(str(folder / file)) for key, file in _FILES.items()}
    print(f"made {workflow}, order.avsc and orders.jsonl. Try:")
    print(_TRY.format(name=called, **quoted), end="")


_FILES = {"workflow": "workflow.yaml", "schema": "order.avsc", "orders": "orders.jsonl"}
_TRY = """\
  streamflow check {workflow}
  streamflow test {workflow}
  streamflow plan {workflow}
  streamflow send {name}.orders {orders} --schema {schema} --key customer
  streamflow run {workflow} --until-end
  streamflow tail {name}.large-orders --from earliest --no-follow
"""
