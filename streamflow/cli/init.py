"""`streamflow init`: a small workflow that runs at once, to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.common import fail

_WORKFLOW = """\
# {name}: reads orders, prices them, and tells large ones from the rest.
#   streamflow check {folder}/workflow.yaml      is it right?
#   streamflow test  {folder}/workflow.yaml      does it do what the cases below say?
#   streamflow plan  {folder}/workflow.yaml      what does it become?
#   streamflow send  {name}.orders {folder}/orders.jsonl --schema {folder}/order.avsc --key customer
#   streamflow run   {folder}/workflow.yaml --until-end
#   streamflow tail  {name}.large-orders --from earliest --no-follow
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
    name: Annotated[str, typer.Argument(help="Name of the workflow and of the folder to make; may be a path.")],
) -> None:
    """Make a folder with a small workflow, its schema, input and a test case."""
    folder = Path(name)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,99}", folder.name):
        fail(f"{folder.name!r} is no name for a workflow: letters, digits, - and _, beginning with a letter.", code=2)
    if folder.exists() and any(folder.iterdir()):
        fail(f"{str(folder)!r} exists and is not empty.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "workflow.yaml").write_text(_WORKFLOW.format(name=folder.name, folder=folder))
    (folder / "order.avsc").write_text(_SCHEMA)
    (folder / "orders.jsonl").write_text(_ORDERS)
    print(f"made {folder}/workflow.yaml, order.avsc and orders.jsonl; its first lines say what to try")
