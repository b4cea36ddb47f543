"""Loop Over Items and Wait: nodes of kinds that are there only where they are installed; elsewhere they are stubs."""

from __future__ import annotations

from streamflow.workflow.n8n.made import Made, Mapped
from streamflow.workflow.n8n.model import N8nNode
from streamflow.workflow.n8n.printed import Printed, call
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

LOOP = "loop"
BACK = "back"  # the port by which items come back to a loop
_UNIT_MS = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}


def make_loop(node: N8nNode, values: Values) -> Made:
    """Every item goes once through the body, in batches; version 1 has no output for what is done."""
    if node.parameters["options"]["reset"].raw not in (None, False):
        raise NoEquivalent("a loop that begins anew", path="parameters.options.reset")
    size = values.value(node.parameters["batchSize"])
    number = size.text.strip('"')
    if size.kind == "null":
        number = "1" if node.version >= 3 else "10"
    if not number.isdigit() or not 1 <= int(number) <= 1_000_000:
        raise NoEquivalent("a size of batches that is no constant number", path="parameters.batchSize")
    outputs = ("done", "body") if node.version >= 3 else ("body", "done") if node.version >= 2 else ("body",)
    return Made(kind=LOOP, params={"mode": "for-each", "batch_size": int(number)}, outputs=outputs)


def make_wait(node: N8nNode, values: Values) -> Made:
    resume = node.parameters["resume"].text("timeInterval")
    if resume == "specificTime":
        until = values.value(node.parameters["dateTime"])
        if until.kind == "null":
            raise NoEquivalent("no time to wait for", path="parameters.dateTime")
        when = until if until.kind == "time" else call("timestamp", until, kind="time")
        return Made(kind="wait", params={"until": when.text})
    if resume != "timeInterval":
        raise NoEquivalent(f"waiting for {resume!r}", path="parameters.resume")
    unit = node.parameters["unit"].text("hours" if node.version < 1.1 else "seconds")
    if unit not in _UNIT_MS:
        raise NoEquivalent(f"the unit {unit!r}", path="parameters.unit")
    amount = values.value(node.parameters["amount"])
    if amount.kind == "null":
        amount = Printed("1" if node.version < 1.1 else "5", "number")
    text = amount.text.strip('"')
    if text.isdigit():
        return Made(kind="wait", params={"for": f"{text}{unit[0]}"})
    if text.replace(".", "", 1).isdigit():
        return Made(kind="wait", params={"for": f"{int(float(text) * _UNIT_MS[unit])}ms"})
    return Made(kind="wait", params={"for": f"{amount} * {_UNIT_MS[unit]}"})


MAPPINGS = (
    Mapped(
        types=("splitInBatches",), make=make_loop, to=LOOP,
        help="Loop Over Items; what leads back is a connection of type loop. A stub where there is no such kind.",
    ),
    Mapped(
        types=("wait",), make=make_wait, to="wait",
        help="For a time, or until one; not for a webhook or a form. A stub where there is no such kind.",
    ),
)  # fmt: skip
