"""notification: tells people, by mail, chat, pager and whatever else Apprise knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from streamflow.connectors.notify import sending
from streamflow.model.policies import Extent
from streamflow.nodes.checks import check_template
from streamflow.nodes.function import TIMEOUT_MS_MAX
from streamflow.nodes.sequence import as_text
from streamflow.operators.acting import RATE, Act, ActOperator, Rate, Wrong
from streamflow.sdk.errors import CallLate, UsageError
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, Template, param
from streamflow.sdk.operator import Operator
from streamflow.sdk.params import parse_duration_ms

_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_RATE = re.compile(r"\s*(\d{1,6})\s*/\s*(\S+)\s*")
NOT_INSTALLED: Final = "SF220"


def read_rate(text: str) -> Rate:
    """`10/1m` as a rate. Raises ValueError."""
    found = _RATE.fullmatch(text)
    within_ms = parse_duration_ms(found[2]) if found else None
    if found is None or not within_ms or not int(found[1]):
        raise ValueError(f"at_most: {text!r} is no rate; write how many within how long, such as 10/1m.")
    return Rate(count=int(found[1]), within_ms=within_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification(Node):
    """Notify people of each item: by mail, chat, pager, or any other service that Apprise has an address for.

    Addresses hold secrets, so they are not written here: they stand in environment variables (`url_env`) or in a file
    (`url_file`). Every message goes to all of them; where one does not take it the item fails with code
    `notification_failed` and follows the node's `retry` and `on_error`. Items pass on as they came.

    A notification may be sent more than once: after a restart, or when another address of the same item failed. Put
    what tells them apart into the text, such as `{{ meta.execution }}`. Nothing is sent in tests and replays, where all
    is taken to have gone well. Until all services have answered the task does nothing else. With `at_most` items above
    the rate of a task pass on without a notification; the next one tells how many there were. With `timeout` a message
    whose services have not all answered in time fails its item with `timed_out`, as a late call of a `function` does.
    """

    spec: ClassVar = NodeSpec(
        kind="notification",
        category="action",
        outputs=(Port(name="out", help="The items, as they came."),),
        stores=(Store(name=RATE, help="How many were sent, and how many were not.", of_rows=False),),
        one_to_one=True,
        icon="bell",
        example='tell: {type: notification, url_env: ALERT_URLS, title: "Order {{ id }}", at_most: 10/1m}',
    )
    url_env: tuple[str, ...] = param(
        default=(), help="Environment variables with Apprise URLs, several in one apart by white space."
    )
    url_file: str | None = param(
        default=None, help="A file with Apprise URLs, one a line, relative to the folder of the workflow file."
    )
    title: Template = param(help="The title; each `{{ expression }}` is replaced by its value.")
    body: Template | None = param(default=None, help="The text, in the same way. Left out: none.", multiline=True)
    at_most: str | None = param(default=None, help="How many within how long, such as `10/1m`. Left out: all.")

    timeout_ms: int | None = param(
        default=None,
        ge=1,
        le=TIMEOUT_MS_MAX,
        help="How long all services together may take for a message; then its item fails with `timed_out`, though it "
        "may have been sent. Left out: as long as each of them takes.",
    )

    def __post_init__(self) -> None:
        if not self.url_env and self.url_file is None:
            raise ValueError("give `url_env`, the name of an environment variable with addresses, or `url_file`.")
        for name in self.url_env:
            if re.fullmatch(_VARIABLE, name) is None:
                raise ValueError("url_env: this is no name of an environment variable. Addresses are not written here.")
        if self.url_file is not None and "://" in self.url_file:
            raise ValueError("url_file: this is no name of a file. Addresses are not written here.")
        if self.at_most is not None:
            read_rate(self.at_most)

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if self.at_most is not None else ()

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        for name, template in (("title", self.title), ("body", self.body)):
            if template is not None:
                check_template(ctx, template, param=name)
        if not sending.installed():
            mend = f"Install it: pip install '{sending.EXTRA}'."
            ctx.report(NOT_INSTALLED, "notifications need the package apprise, which is not installed.", mend=mend)
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        texts = {"title": as_text(ctx.template(self.title))}
        texts["body"] = Expression('""') if self.body is None else as_text(ctx.template(self.body))
        services = None
        if ctx.live:
            file = None if self.url_file is None else Path(ctx.base_folder, self.url_file)
            try:
                services = sending.read_urls(self.url_env, file)
            except UsageError as error:
                raise UsageError(f"node {ctx.node_id!r}: {error.message}", mend=error.mend) from None
        return ActOperator(
            projection=ctx.projection(texts),
            labels={name: name for name in texts},
            act=self._act(ctx, services),
            code=sending.FAILED,
            rate=None if self.at_most is None else read_rate(self.at_most),
            told="body",
        )

    def _act(self, ctx: BuildContext, services: sending.Services | None) -> Act | None:
        if self.timeout_ms is None:
            return None if services is None else _sender(services)
        # Where nothing is sent the calls are made all the same: a journal tells which of them were late.
        return _one_by_one(ctx.timed(_quiet if services is None else _sender(services), self.timeout_ms))


def _sender(services: sending.Services) -> Act:
    def send(rows: Sequence[Mapping[str, object]]) -> list[str]:
        return services.send([_message(str(row["title"]), str(row["body"])) for row in rows])

    return send


def _quiet(rows: Sequence[Mapping[str, object]]) -> Sequence[Wrong]:
    """Sends nothing."""
    return [""] * len(rows)


def _one_by_one(send: Callable[[Sequence[Mapping[str, object]]], Sequence[Wrong]]) -> Act:
    """`send`, which has a time for each call, called for each message by itself."""

    def one(row: Mapping[str, object]) -> Wrong:
        try:
            return send([row])[0]
        except CallLate as error:
            return (error.item_code, error.message)

    return lambda rows: [one(row) for row in rows]


def _message(title: str, body: str) -> sending.Message:
    return sending.Message(title[: sending.TITLE_CHARS_MAX], body[: sending.BODY_CHARS_MAX])
