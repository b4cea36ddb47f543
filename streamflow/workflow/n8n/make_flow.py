"""Triggers, topics, and nodes that steer."""

from __future__ import annotations

import json
from collections.abc import Callable

from streamflow.workflow.n8n.made import Made, Mapped, Step
from streamflow.workflow.n8n.model import N8nNode
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

_TOPIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


def make_no_op(node: N8nNode, values: Values) -> Made:
    return Made(kind="no-op")


def make_manual(node: N8nNode, values: Values) -> Made:
    return Made(kind="manual")


def silent(why: str, *, comments: tuple[str, ...] = ()) -> Made:
    """A trigger that gives nothing until somebody changes it."""
    return Made(kind="manual", params={"items": []}, notes=(why,), comments=comments)


def _trigger(what: str) -> Callable[[N8nNode, Values], Made]:
    def make(node: N8nNode, values: Values) -> Made:
        return foreign_trigger(node, what)

    return make


def foreign_trigger(node: N8nNode, what: str = "") -> Made:
    """A trigger that has no equivalent: a manual one without items, its parameters above it as comment."""
    told = f"{what or node.full_type}: it became a manual trigger without items; replace it, or give it items"
    shown = json.dumps(node.parameters.raw, ensure_ascii=False, indent=1).splitlines() if node.parameters.raw else []
    return silent(told, comments=(f"n8n: {node.full_type}", *shown))


FAILING = "replace-with-the-workflow-that-fails"
# What n8n's Error Trigger gives, of a dead letter.
_ERROR_ITEM = {
    "execution": (
        'parse_json(to_json({"id": execution, "lastNodeExecuted": node, "mode": "trigger", '
        '"error": {"name": code, "message": message}}))'
    ),
    "workflow": 'parse_json(to_json({"id": workflow, "name": workflow}))',
}


def make_error_trigger(node: N8nNode, values: Values) -> Made:
    """Dead letters of one workflow, in the form that n8n gives errors in."""
    return Made(
        kind="set",
        params={"fields": _ERROR_ITEM, "keep": []},
        before=(Step(kind="error-trigger", params={"workflow": FAILING}),),
        typed=True,
        notes=(
            f"put the name of the workflow whose errors it hears of in the place of {FAILING!r}: the one whose setting "
            "errorWorkflow has the id of this one; for several, one error-trigger each",
            "it hears of each item that fails, n8n's of each execution",
        ),
        comments=(
            f"n8n: {node.full_type}: it reads the dead letters of {FAILING}.",
            "Put there the name of the workflow whose setting errorWorkflow has the id of this one in n8n;",
            "for several, one error-trigger each.",
        ),
    )


def make_stop(node: N8nNode, values: Values) -> Made:
    if node.parameters["errorType"].text("errorMessage") == "errorObject":
        message = values.text(node.parameters["errorObject"])
    else:
        message = values.text(node.parameters["errorMessage"])
    plain = node.parameters["errorMessage"].text()
    fixed = not plain.startswith("=") and "{{" not in plain and node.parameters["errorType"].text() != "errorObject"
    text = (plain or "stopped") if fixed else f"{{{{ {message.text} }}}}"
    return Made(
        kind="stop-and-error",
        params={"message": text},
        notes=("it stops the whole workflow; n8n stops the execution alone",),
    )


def make_event(node: N8nNode, values: Values) -> Made:
    """Kafka Trigger: items are `{message, topic}`, or the message itself."""
    topic = _topic(node, values)
    options = node.parameters["options"]
    start = {} if options["fromBeginning"].raw is not False else {"start": "latest"}
    event = {"topic": topic, "format": "json", **start}
    if options["returnHeaders"].raw is True:
        raise NoEquivalent("headers of messages", path="parameters.options.returnHeaders")
    parsed = options["jsonParseMessage"].raw is True
    if parsed and options["onlyMessage"].raw is True:
        return Made(kind="event", params=event)
    fields = {"message": "item" if parsed else "to_json(item)", "topic": f'"{topic}"'}
    notes = () if parsed else ("messages are read as JSON; `message` is their text",)
    params = {"fields": fields, "keep": ["message"]}
    return Made(kind="set", params=params, before=(Step(kind="event", params=event),), notes=notes)


def make_publish(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    params: dict[str, object] = {"topic": _topic(node, values), "format": "json"}
    if parameters["useSchemaRegistry"].raw is True:
        raise NoEquivalent("a schema registry", path="parameters.useSchemaRegistry")
    if parameters["useKey"].raw is True:
        params["key"] = values.text(parameters["key"]).text
    headers: dict[str, str] = {}
    if parameters["jsonParameters"].raw is True:
        raise NoEquivalent("headers as JSON", path="parameters.headerParametersJson")
    for one in parameters["headersUi"]["headerValues"]:
        if name := values.fixed(one["key"], "a header's name"):
            headers[name] = values.text(one["value"]).text
    if headers:
        params["headers"] = headers
    before: tuple[Step, ...] = ()
    if parameters["sendInputData"].raw is False:
        message = values.text(parameters["message"])
        before = (Step(kind="set", params={"fields": {"message": message.text}, "keep": []}),)
        params["format"] = "bytes"
    return Made(
        kind="publish", params=params, outputs=(), before=before, unwired="nothing comes out of a topic's writer"
    )


def _topic(node: N8nNode, values: Values) -> str:
    topic = values.fixed(node.parameters["topic"], "a topic")
    if not topic or len(topic) > 200 or any(c not in _TOPIC for c in topic) or topic in (".", ".."):
        raise NoEquivalent(f"the topic {topic[:40]!r}" if topic else "no topic", path="parameters.topic")
    return topic


MAPPINGS = (
    Mapped(types=("noOp",), make=make_no_op, to="no-op", help="All versions."),
    Mapped(types=("manualTrigger", "start"), make=make_manual, to="manual", help="It gives one empty item."),
    Mapped(
        types=("scheduleTrigger", "cron", "interval"), make=_trigger("a schedule"), to="manual",
        help="Without items, its rule as comment.",
    ),
    Mapped(types=("webhook",), make=_trigger("a webhook"), to="manual", help="Without items, its path as comment."),
    Mapped(
        types=("errorTrigger",), make=make_error_trigger, to="error-trigger",
        help="Its items as n8n has them; the name of the workflow that fails has to be put in.",
    ),
    Mapped(
        types=("executeWorkflowTrigger",), make=_trigger("called by another workflow"), to="manual",
        help="Without items.",
    ),
    Mapped(
        types=("kafkaTrigger",), make=make_event, to="event",
        help="JSON messages: items are `{message, topic}`, or the messages alone. Without headers.",
    ),
    Mapped(types=("kafka",), make=make_publish, to="publish", help="Items as JSON, or one message."),
    Mapped(types=("stopAndError",), make=make_stop, to="stop-and-error", help="It stops the whole workflow."),
)  # fmt: skip
