"""Codes of what nodes find wrong with their parameters, and the checks that several kinds share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from streamflow.expressions import typecheck
from streamflow.model.types import BOOL, BYTES, Schema, Type, record_of
from streamflow.operators.keys import can_be_key
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import SchemaContext, Template

CONTRADICTION = "SF250"  # parameters that do not go together
NO_FIELD = "SF211"  # found by expressions
UNKNOWN_FIELD = "SF251"
WRONG_TYPE = "SF252"
COLLISION = "SF253"  # two fields of one name
UNBOUNDED = "SF254"  # acts on a whole execution, but there is none that ends
MISFIT = "SF255"  # items do not fit the schema they are written with
UNREADABLE = "SF256"  # a file or a function cannot be read
NAME = "SF257"  # a name that no field or port can have
STUB = "SF258"  # a warning: something has to be written here before the workflow can run
TIME_MS_MAX = 366 * 86_400_000  # of parameters that are durations of event time: a year


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name, or the names there are."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"There is: {', '.join(known[:20])}." if known else ""


def check_condition(ctx: SchemaContext, expression: Expression, *, param: str, port: str = "in") -> None:
    """A condition is a bool (or any, checked as it runs)."""
    ctx.typeof(expression, param=param, port=port, expect=BOOL.optional())


def check_template(ctx: SchemaContext, template: Template, *, param: str) -> None:
    """A template's values can be text."""
    expression = ctx.template(template)
    kind = ctx.typeof(expression, param=param)
    if not can_be_key(kind) and kind.kind != "null":
        ctx.report(WRONG_TYPE, f"`{expression.text}` is {kind}, not text.", param=param, mend="Use to_json() on it.")


def check_key(ctx: SchemaContext, expression: Expression | None, *, param: str = "key", port: str = "in") -> None:
    """A key is a scalar."""
    if expression is None or not check_known(ctx, expression, param=param, port=port):
        return
    report_key(ctx, ctx.typeof(expression, param=param, port=port), expression, param=param)


def check_known(ctx: SchemaContext, key: Expression, *, param: str, port: str) -> bool:
    """Whether items of a port have the fields that a key names, as far as deletions can be told from other items: what
    a record without value leaves may be its key's bytes and nothing else.
    """
    if ctx.inputs.get(port) != record_of({"key": BYTES}):
        return True
    if all(f.code != NO_FIELD for f in typecheck(key, ctx.scope(port))[1]):
        return True
    ctx.report(
        NO_FIELD,
        f"items at port {port!r} have no fields for `{key.text}`: they are deletions, with the bytes of their record's "
        "key as `key`.",
        param=param,
        mend="Set `key` on the event that they come from to the field which its topic has as key.",
    )
    return False


def report_key(ctx: SchemaContext, kind: Type, expression: Expression, *, param: str) -> None:
    """Report a key of a type that no key has."""
    if not can_be_key(kind) and kind.kind != "null":
        ctx.report(
            WRONG_TYPE,
            f"a key is text, bytes, a number, a bool or a time; `{expression.text}` is {kind}.",
            param=param,
            mend="Take a field of it, or turn it into text with json().",
        )


def check_fields(ctx: SchemaContext, names: Iterable[str], schema: Schema, *, param: str) -> None:
    """Names of fields that the items have; nothing is known of untyped items."""
    if schema.kind != "record":
        return
    known = [f.name for f in schema.fields]
    for name in names:
        if name not in known:
            ctx.report(UNKNOWN_FIELD, f"items have no field {name!r}.", param=param, mend=nearest(name, known))


def trigger_type(ctx: SchemaContext, schema: Schema, expression: Expression, *, param: str) -> Type:
    """Type of a trigger's own expression, which is over the items it makes; findings are reported."""
    found, findings = typecheck(expression, Scope(item=schema, vars=ctx.vars))
    for finding in findings:
        ctx.report(finding.code, finding.message, param=param, mend=finding.mend, severity=finding.severity)
    return found


def base_folder(ctx: SchemaContext) -> str:
    """Folder that relative paths start from while schemas are inferred; the working folder where nobody says."""
    return ctx.base_folder or "."


def field_type(schema: Schema, name: str) -> Type | None:
    found = schema.field(name) if schema.kind == "record" else None
    return found.type if found else None


def is_field_name(name: str) -> bool:
    """Whether `name` can name a field: what Avro takes."""
    return name.isascii() and name.isidentifier()


def check_names(ctx: SchemaContext, names: Iterable[str], *, param: str) -> bool:
    """New fields have names that Avro takes."""
    wrong = [n for n in names if not is_field_name(n)]
    for name in wrong:
        ctx.report(
            NAME,
            f"{name!r} cannot name a field.",
            param=param,
            mend="Use letters, digits and underscores, not beginning with a digit.",
        )
    return not wrong


def check_keys(ctx: SchemaContext, names: Iterable[str], *, param: str) -> bool:
    """New keys of JSON objects, which no schema names: any text, but for what reserved columns begin with."""
    wrong = [n for n in names if not n or n.startswith("@")]
    for name in wrong:
        ctx.report(NAME, f"{name!r} cannot name a field.", param=param, mend="Begin it with something else than '@'.")
    return not wrong


def types_of(ctx: SchemaContext, fields: Mapping[str, Expression], *, param: str, port: str = "in") -> dict[str, Type]:
    """Type of each expression of a mapping parameter."""
    return {name: ctx.typeof(e, param=f"{param}.{name}", port=port) for name, e in fields.items()}
