"""Environments: what differs between where a workflow is developed and where it runs. Settled when it is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from streamflow.sdk.expression import META_VARS
from streamflow.sdk.params import nearest
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.model import WorkflowDocument

ENVIRONMENT: Final = "SF263"
VARIABLE: Final = "STREAMFLOW_ENVIRONMENT"


def chosen(document: WorkflowDocument) -> str:
    """The environment that holds: what was asked for, else what the policies say; "" for none."""
    return document.environment or document.policies.environment


def settle(document: WorkflowDocument) -> tuple[WorkflowDocument, list[Diagnostic]]:
    """The document with the vars of its environment, and with what `meta` needs to know of it."""
    name = chosen(document)
    findings = _wrong(document, name)
    made = dict(document.vars)
    if not findings:
        made |= document.environments.get(name, {})
    told: dict[str, object] = {}
    if name:
        told["environment"] = name
    if document.policies.context:
        told["headers"] = dict(document.policies.context)
    return replace(document, vars=made | ({META_VARS: told} if told else {})), findings


def _wrong(document: WorkflowDocument, name: str) -> list[Diagnostic]:
    known = list(document.environments)
    findings = []
    for environment, given in document.environments.items():
        for var in given:
            if var not in document.vars:
                near = nearest(var, list(document.vars))
                mend = f"Did you mean {near!r}?" if near else "Give it a value under `vars` as well."
                findings.append(
                    _report(
                        document.place, f"environment {environment!r} sets {var!r}, which is none of the vars.", mend
                    )
                )
    if name and known and name not in known:
        place = document.policies.places.get("environment", document.place)
        near = nearest(name, known)
        mend = f"Did you mean {near!r}?" if near else f"It has {', '.join(known)}."
        findings.append(_report(place, f"the workflow has no environment {name!r}.", mend))
    return findings


def _report(place: Place, message: str, mend: str) -> Diagnostic:
    return Diagnostic(place=place, code=ENVIRONMENT, message=message, mend=mend)


def vars_in(document: WorkflowDocument, environment: str) -> Mapping[str, object]:
    """The vars of a document in an environment of another one that it is part of."""
    return {**document.vars, **document.environments.get(environment, {})}
