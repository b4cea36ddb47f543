"""A document as YAML text that loads as the same document."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ruamel.yaml import YAML

from streamflow.model.policies import RetryPolicy
from streamflow.nodes.slots import Slots
from streamflow.sdk.errors import UsageError
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Template
from streamflow.workflow.model import Connection, Metadata, NodeEntry, WorkflowDocument, WorkflowPolicies


def to_yaml(document: WorkflowDocument) -> str:
    """YAML text of a document; functions of the builder become `module:name`.

    Raises:
        UsageError: a function cannot be imported by name, such as a lambda.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 100_000  # one line a scalar: places stay exact
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.allow_unicode = True
    out = io.StringIO()
    yaml.dump(to_plain(document), out)
    return out.getvalue()


def to_plain(document: WorkflowDocument) -> dict[str, object]:
    """The document as plain values, in the form that `load` reads; defaults are left out."""
    made: dict[str, object] = {"workflow": document.name}
    for key in ("description", "version", "registry"):
        if value := getattr(document, key):
            made[key] = value
    if document.vars:
        made["vars"] = _plain(document.vars)
    if document.environments:
        made["environments"] = {name: {"vars": _plain(given)} for name, given in document.environments.items()}
    if policies := _policies(document.policies):
        made["policies"] = policies
    made["nodes"] = {entry.id: _node(entry, document) for entry in document.nodes}
    if document.connections:
        made["connections"] = [_connection(c) for c in document.connections]
    if document.tests:
        made["tests"] = [
            {"name": case.name, "input": _plain(case.input), "expect": _plain(case.expect)} for case in document.tests
        ]
    return made


def _policies(policies: WorkflowPolicies) -> dict[str, object]:
    usual = WorkflowPolicies()
    made: dict[str, object] = {}
    plain = (
        "on_error", "executions", "executions_kept_ms", "timeout_ms", "on_cancel", "samples", "recovery", "partitions",
    )  # fmt: skip
    for key in plain:
        if (value := getattr(policies, key)) != getattr(usual, key):
            made[key] = value
    keys = (
        "guarantee",
        "commit_interval_ms",
        "pending_bytes_max",
        "step_bytes_max",
        "input_wait_ms",
        "state",
        "standbys",
        "weight",
    )
    for key in keys:
        if (value := getattr(policies.run, key)) != getattr(usual.run, key):
            made[key] = value
    if (by := policies.recover) is not None:
        said: dict[str, object] = {"action": by.action, "after_ms": by.after_ms, "attempts": by.attempts}
        said |= {key: list(named) for key in ("codes", "nodes") if (named := getattr(by, key))}
        made["recover"] = said | ({"to": by.to} if by.to else {})
    if (taken := policies.checkpoints) is not None:
        written: dict[str, object] = {"nodes": list(taken.nodes), "rollbacks_max": taken.rollbacks_max}
        written |= {} if taken.interval_ms is None else {"interval_ms": taken.interval_ms}
        written |= {} if not taken.keep_ms else {"keep_ms": taken.keep_ms}
        written |= {} if taken.when is None else {"when": taken.when.text}
        made["checkpoints"] = written
    if policies.redact:
        made["redact"] = list(policies.redact)
    if policies.error_workflow is not None:
        also = {"also": list(policies.error_workflow.also)} if policies.error_workflow.also else {}
        made["error_workflow"] = {"file": policies.error_workflow.file} | also
    if policies.environment:
        made["environment"] = policies.environment
    if policies.context:
        made["context"] = dict(policies.context)
    if policies.notify is not None:
        made["notify"] = _plain(policies.notify)
    if policies.retry != usual.retry:
        made["retry"] = _retry(policies.retry)
    return made | _slots(policies.slots)


def _slots(slots: Slots | None) -> dict[str, object]:
    """Policies `concurrency` and `rate`."""
    if slots is None:
        return {}
    usual, made = Slots(), dict[str, object]()
    for key in ("executions", "per", "share", "priority", "aging_ms", "queue_max", "when_full"):
        if (value := getattr(slots, key)) != getattr(usual, key):
            made[key] = _plain(value)
    asked: dict[str, object] = {"concurrency": made} if made else {}
    if slots.rate is not None:
        asked["rate"] = asdict(slots.rate)
    return asked


def _retry(retry: RetryPolicy) -> dict[str, object]:
    usual = RetryPolicy()
    made: dict[str, object] = {"attempts": retry.attempts, "delay_ms": retry.delay_ms}
    for key in ("backoff", "delay_max_ms", "jitter", "when", "limit_ms", "mode"):
        if (value := getattr(retry, key)) != getattr(usual, key):
            made[key] = value
    if retry.codes:
        made["codes"] = list(retry.codes)
    if retry.parking != usual.parking:
        made["parking"] = asdict(retry.parking)
    return made


def _on_error(entry: NodeEntry) -> object:
    if not entry.fallback and entry.value is None:
        return entry.on_error
    instead = entry.fallback if entry.value is None else {"value": _plain(entry.value)}
    return {"fallback": instead} | ({"breaker": asdict(entry.breaker)} if entry.breaker is not None else {})


def _node(entry: NodeEntry, document: WorkflowDocument) -> dict[str, object]:
    made: dict[str, object] = {"type": entry.type}
    params = {name: _plain(value, document.functions) for name, value in entry.params.values.items()}
    made.update(params)
    for key in ("name", "disabled", "notes"):
        if value := getattr(entry, key):
            made[key] = value
    if entry.credentials:
        made["credentials"] = dict(entry.credentials)
    if entry.position is not None:
        made["position"] = list(entry.position)
    if metadata := _metadata(entry.metadata):
        made["metadata"] = metadata
    if entry.on_error is not None:
        made["on_error"] = _on_error(entry)
    if entry.compensate:
        made["compensate"] = entry.compensate
    if entry.compensate_when is not None:
        made["compensate_when"] = entry.compensate_when.text
    if entry.retry is not None:
        made["retry"] = _retry(entry.retry)
    return made


def _metadata(metadata: Metadata) -> dict[str, object]:
    keys = ("version", "category", "description", "icon", "color")
    made: dict[str, object] = {key: value for key in keys if (value := getattr(metadata, key))}
    if metadata.tags:
        made["tags"] = list(metadata.tags)
    return made


def _connection(connection: Connection) -> object:
    implied = "error" if connection.source_port == "error" else "conditional" if connection.condition else "main"
    simple = connection.type == implied and connection.index is None and connection.condition is None
    if simple and not connection.label and not connection.metadata:
        return str(connection)
    made: dict[str, object] = {"from": connection.source}
    if connection.source_port:
        made["port"] = connection.source_port
    made["to"] = connection.target
    if connection.target_port:
        made["input"] = connection.target_port
    if connection.type != implied:
        made["type"] = connection.type
    if connection.index is not None:
        made["index"] = connection.index
    if connection.condition is not None:
        made["condition"] = connection.condition.text
    if connection.label:
        made["label"] = connection.label
    if connection.metadata:
        made["metadata"] = _plain(connection.metadata)
    return made


def _plain(value: object, functions: Mapping[str, Callable[..., Any]] | None = None) -> object:
    if isinstance(value, Expression | Template):
        return value.text
    if isinstance(value, FunctionRef):
        function = (functions or {}).get(value.ref)
        return value.ref if function is None else importable_name(function)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, functions) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, functions) for inner in value]
    return value


def importable_name(function: Callable[..., Any]) -> str:
    """`module:name` of a function. Raises UsageError if it cannot be imported by that name."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    found: object = None
    if module and name and module != "__main__" and "<" not in name:
        try:
            found = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part, None)
        except ImportError:
            found = None
    if found is not function:
        raise UsageError(
            f"function {name or function!r} of {module or 'no module'} cannot be imported by its name.",
            mend="Define it at the top of a module that can be imported.",
        )
    return f"{module}:{name}"
