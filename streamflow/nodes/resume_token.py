"""resume-token: items get what ends their wait further on, for whoever they are sent to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import orjson
import polars as pl

from streamflow.model.batch import EXECUTION, Batch
from streamflow.model.policies import Extent
from streamflow.model.types import PAYLOAD, STRING, Schema
from streamflow.nodes.checks import COLLISION, CONTRADICTION, check_key, check_names
from streamflow.nodes.set import schema_after
from streamflow.nodes.wait_params import EXECUTION_KEY
from streamflow.operators.errors import evaluate, join_failed, label, without
from streamflow.operators.keys import key_bytes
from streamflow.operators.signing import Claim, sign, signing_key
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result

_KEY: Final = "key"


@dataclass(frozen=True, slots=True)
class TokenOperator:
    """A token for each row. `projection` gives the key under which it is going to wait at node `wait`."""

    projection: Projection
    labels: Mapping[str, str]
    wait: str
    field: str
    schema: Schema
    signing_key: bytes = dataclasses.field(repr=False)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.projection, self.labels)
        keys = key_bytes(values[_KEY], self.projection.types[_KEY]).to_list()
        items = batch.frame[PAYLOAD].to_list() if self.schema.kind == "any" else [b"{"] * len(batch)
        made: list[str] = []
        wrong: dict[int, tuple[str, str]] = {}
        for at, (key, execution, item) in enumerate(zip(keys, batch.frame[EXECUTION].to_list(), items, strict=True)):
            text = _text(key)
            if text is None:
                wrong[at] = ("null_value", f"{self.labels[_KEY]}: no signal can be for a key that is no text")
            elif item is None or not item.startswith(b"{"):
                wrong[at] = ("wrong_type", "field: the item is no JSON object")
            else:
                made.append(sign(Claim(ctx.workflow, self.wait, text, execution), self.signing_key))
        fine, odd = without(batch, wrong)
        if self.schema.kind == "any":
            objects = [orjson.loads(item) for item in fine.frame[PAYLOAD].to_list()]
            texts = [orjson.dumps(item | {self.field: token}) for item, token in zip(objects, made, strict=True)]
            column = pl.Series(PAYLOAD, texts, dtype=pl.Binary)
        else:
            column = pl.Series(self.field, made, dtype=pl.String)
        out = Batch(fine.frame.with_columns(column), self.schema)
        return Result(outputs={"out": out}, failed=join_failed([failed, odd]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeToken(Node):
    """Give each item a token that ends its wait at a node further on.

    Who has the token may end the wait of this execution at that node, and no other (`streamflow signal --token`): so it
    can be part of a link in a mail. It stands for a `wait` with `signed: true` and the same `key`. Tokens are signed
    with the key in STREAMFLOW_SIGNING_KEY, the same for all workers.
    """

    spec: ClassVar = NodeSpec(
        kind="resume-token",
        category="control",
        one_to_one=True,
        icon="ticket",
        example="linked: {type: resume-token, wait: approved, key: id, field: token}",
    )
    wait: str = param(min_length=1, help="Id of the node at which the item is going to wait.")
    key: Expression | None = param(
        default=None, help="What `key` of that node is. Left out, as there: the execution's id."
    )
    field: str = param(default="resume_token", min_length=1, help="Field that takes the token.")

    def signs_for(self) -> str:
        return self.wait

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return (EXECUTION,)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        items = ctx.inputs["in"]
        check_key(ctx, self.key)
        if items.kind not in ("record", "any"):
            ctx.report(
                CONTRADICTION,
                f"items are {items}: they have no place for a token.",
                mend="Make records of them with `set` before this node.",
            )
        elif check_names(ctx, (self.field,), param="field") and items.kind == "record" and items.field(self.field):
            ctx.report(COLLISION, f"items have a field {self.field!r} already.", param="field", mend="Set `field`.")
        return {"out": schema_after(items, {self.field: STRING}, None, ())}

    def operator(self, ctx: BuildContext) -> Operator:
        key = self.key or EXECUTION_KEY
        labels = {_KEY: label("key", key)}
        return TokenOperator(
            ctx.projection({_KEY: key}), labels, self.wait, self.field, ctx.outputs["out"], signing_key()
        )


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None
