"""What nodes say of items that fail, checked against what flows through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import orjson
import polars as pl

from streamflow.compiler.codes import PASSES_ON, RETRIES
from streamflow.compiler.context import InferenceContext
from streamflow.compiler.unify import Conflict, unify
from streamflow.expressions import typecheck
from streamflow.model.types import BOOL, Schema
from streamflow.operators.typed_json import typed_items
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import Schemas
from streamflow.sdk.params import suggestion
from streamflow.sdk.places import Diagnostic
from streamflow.topology.envelopes import error_schema

_OTHERWISE = "connect its error port"
_ASIDE = {"park": "parks items", "delay": "delays items"}


def check_retry(ctx: InferenceContext, failing: Schema | None) -> None:
    """Whether a node's retries and breaker can be done there, and the type of the condition."""
    node, retry = ctx.node, ctx.node.errors.retry
    if retry.when and failing is not None and (retry.attempts > 1):
        when = node.retry_when or Expression(retry.when)
        placed = when if when.place.file else Expression(when.text, node.policy_place or node.place)
        # No `nodes.<id>`: nothing keeps what earlier nodes made for the sake of a condition that few items come to.
        scope = Scope(item=error_schema(failing, attempts=True), vars=ctx.vars)
        ctx.findings.extend(typecheck(placed, scope, expect=BOOL.optional())[1])
    breaker = node.errors.breaker is not None
    asked = breaker or (node.says_retry and retry.attempts > 1)
    if not asked or not node.is_written or node.is_trigger or not node.node.spec.can_fail:
        return
    said = _ASIDE[retry.mode] if retry.puts_aside else "has a breaker" if breaker else "tries items again"
    needs = retry.puts_aside or breaker
    severity: Literal["error", "warning"] = "error" if needs else "warning"
    if any(store.of_rows for store in node.node.stores(ctx.extent)):
        message = f"{said}, but keeps state of its own: whatever fails there fails again."
        _report(ctx, RETRIES, message, "Put what can fail for a while into a node before it.", severity)
    elif len(ctx.inputs) != 1:
        _report(ctx, RETRIES, f"{said}, but has {len(ctx.inputs)} inputs.", "Put a `merge` before it.", severity)
    elif retry.puts_aside and ctx.extent != "item":
        message = f"{said}, but its trigger's executions (extent {ctx.extent}) end before those are tried again."
        _report(ctx, RETRIES, message, f"Leave out `mode: {retry.mode}`.")
    elif retry.puts_aside and breaker:
        _report(ctx, RETRIES, f"has a breaker and {said}: those wait for the node to be well again.", "Keep one.")


def passing_schema(ctx: InferenceContext, outputs: Schemas, failing: Schema | None) -> Schema | None:
    """What failed items pass on as, where the node says that they do; None where they cannot, which is reported."""
    out, value = outputs.get("out"), ctx.node.errors.value
    if ctx.node.is_trigger or ctx.node.repartitions or out is None or failing is None:
        why = "is a trigger" if ctx.node.is_trigger else "has no output `out`"
        _report(ctx, PASSES_ON, f"cannot pass failed items on: it {why}.", "Choose another `on_error`.")
        return None
    if len(ctx.inputs) != 1:
        _report(ctx, PASSES_ON, f"cannot pass failed items on: it has {len(ctx.inputs)} inputs.", f"Or {_OTHERWISE}.")
        return None
    if value is not None:
        return _with_values(ctx, out, failing, value)
    found = unify(out, failing, lenient=False)
    if isinstance(found, Conflict):
        where = f"field {found.path!r}" if found.path else "an item"
        differs = f"{where} is {found.left} in its output and {found.right} in its input"
        mend = f"Give values in `on_error: {{fallback: {{value: {{…}}}}}}`, or {_OTHERWISE}."
        _report(ctx, PASSES_ON, f"cannot pass failed items on as they are: {differs}.", mend)
        return None
    return failing


def _with_values(ctx: InferenceContext, out: Schema, failing: Schema, value: Mapping[str, object]) -> Schema | None:
    """Whether values, with what the item has, make an item of the output."""
    if out.kind == "any":
        return out
    if out.kind != "record":
        message = f"its output is {out}, which has no fields to give values of."
        _report(ctx, PASSES_ON, message, f"Name a node as `fallback`, or {_OTHERWISE}.")
        return None
    before = len(ctx.findings)
    known = [f.name for f in out.fields]
    for name in value:
        if name not in known:
            _report(ctx, PASSES_ON, f"its output has no field {name!r}.", suggestion(name, known))
    given = replace(out, fields=tuple(f for f in out.fields if f.name in value))
    text = orjson.dumps({name: inner for name, inner in value.items() if name in known})
    for _, why in typed_items(pl.Series([text], dtype=pl.Binary), given)[1].values():
        _report(ctx, PASSES_ON, f"the fallback's value does not fit its output: {why}.", f"The output is {given}.")
    missing = [f.name for f in out.fields if f.name not in value and not fills(failing, out, f.name)]
    if missing:
        names = ", ".join(map(repr, missing))
        message = f"the fallback's value lacks {names}, and the items that fail have no such field of that type."
        _report(ctx, PASSES_ON, message, "Give a value for each.")
    return out if len(ctx.findings) == before else None


def fills(failing: Schema, out: Schema, name: str) -> bool:
    """Whether a field of the output can be had of a failed item, or be left out."""
    wanted = out.field(name)
    assert wanted is not None, name
    if wanted.type.nullable or wanted.has_default:
        return True
    return _same(failing, out, name)


def _same(failing: Schema, out: Schema, name: str) -> bool:
    mine, wanted = failing.field(name) if failing.kind == "record" else None, out.field(name)
    return mine is not None and wanted is not None and mine.type in (wanted.type, wanted.type.required())


def _report(
    ctx: InferenceContext,
    code: str,
    message: str,
    mend: str = "",
    severity: Literal["error", "warning"] = "error",
) -> None:
    place = ctx.node.policy_place if ctx.node.policy_place.line else ctx.node.place
    said = f"node {ctx.node.written_id!r} {message}" if not message.startswith(("its", "the")) else message
    if said is message:
        said = f"node {ctx.node.written_id!r}: {message}"
    ctx.findings.append(Diagnostic(place=place, code=code, message=said, mend=mend, severity=severity))
