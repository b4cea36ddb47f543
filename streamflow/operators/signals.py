"""Signals as they stand on a topic, and what a wait node hears of them.

What is wrong with a signal is found before it gets to the node: no item waits for something that cannot answer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import ANY, STRING, Field, Schema, Type, record_of
from streamflow.operators.errors import fail, without
from streamflow.operators.signing import Claim, verify
from streamflow.operators.typed_json import typed_items
from streamflow.sdk.operator import Context, Result

SIGNAL: Final[Schema] = Type(
    kind="record",
    name="streamflow.Signal",
    doc="What items of a workflow wait for: a record on topic <workflow>.signals, which anyone may write.",
    fields=tuple(
        Field(name=name, type=of, doc=doc, has_default=of.nullable)
        for name, of, doc in (
            ("name", STRING, "Which signal: what `signal` is at the wait nodes that it is for."),
            ("key", STRING, "Whose wait it ends: what `key` of the node gives as text; by default an execution's id."),
            ("execution", STRING.optional(), "Only items of this execution. Signed signals need it."),
            ("node", STRING.optional(), "Only this node. Null: all that wait for a signal of this name."),
            ("payload", STRING.optional(), "What the items get, as JSON text. Null: JSON's null."),
            ("token", STRING.optional(), "A resume token, where the node asks for it (`signed`)."),
            ("id", STRING.optional(), "What makes a repeat of this signal known: of a key, one of an id counts."),
        )
    ),
)
KEY, FOR, PAYLOAD, WHY, ID = "key", "execution", "payload", "why", "id"
EARLY: Final[Schema] = record_of({KEY: STRING, FOR: STRING.optional(), PAYLOAD: ANY})  # as they are kept
HEARD: Final[Schema] = record_of({KEY: STRING, FOR: STRING.optional(), PAYLOAD: ANY, ID: STRING.optional()})
UNCLAIMED: Final[Schema] = record_of({KEY: STRING, FOR: STRING.optional(), PAYLOAD: ANY, WHY: STRING})


@dataclass(frozen=True, slots=True)
class HearOperator:
    """Signals that are for one node, checked. `schema`: of their payload; None: any JSON. `signing_key`: of tokens
    that they must have; None: they need none.
    """

    node: str
    signal: str
    schema: Schema | None
    signing_key: bytes | None = field(repr=False)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        mine = (pl.col("name") == self.signal) & (pl.col("node").is_null() | (pl.col("node") == self.node))
        own = batch.where(batch.frame.select(mine).to_series())
        fine, failed = without(own, self._wrong(own, ctx.workflow))
        texts = fine.frame["payload"].fill_null("null").cast(pl.Binary)
        frame = fine.frame.select(fine.reserved_columns()).with_columns(
            fine.frame["key"], fine.frame["execution"], texts.alias(PAYLOAD), fine.frame["id"]
        )
        return Result(outputs={"out": Batch(frame, HEARD)}, failed=failed, filtered=len(batch) - len(own))

    def _wrong(self, batch: Batch, workflow: str) -> dict[int, tuple[str, str]]:
        """Code and message by row."""
        wrong: dict[int, tuple[str, str]] = {}
        rows = batch.frame.select("key", "execution", "payload", "token", "id").rows()
        for at, (key, execution, payload, token, given) in enumerate(rows):
            if self.signing_key is not None and not self._signed(workflow, key, execution, token, self.signing_key):
                said = "has no token" if token is None else "has a token that is not signed for what it says"
                wrong[at] = ("bad_token", f"signal {self.signal!r} {said}; node {self.node!r} takes signed ones only")
            elif payload is not None and not _is_json(payload):
                wrong[at] = ("bad_payload", f"the payload of signal {self.signal!r} is no JSON text")
            elif given == "":
                wrong[at] = ("bad_id", f"the id of signal {self.signal!r} is empty: all such ones would be repeats")
        if self.schema is not None:
            texts = batch.frame["payload"].fill_null("null").cast(pl.Binary).to_list()
            sound = [at for at in range(len(batch)) if at not in wrong]
            _, misfits = typed_items(pl.Series([texts[at] for at in sound], dtype=pl.Binary), self.schema)
            wrong |= {
                sound[i]: (code, f"payload of signal {self.signal!r}: {why}") for i, (code, why) in misfits.items()
            }
        return dict(sorted(wrong.items()))

    def _signed(self, workflow: str, key: str, execution: str | None, token: str | None, signing_key: bytes) -> bool:
        if token is None or execution is None:
            return False
        return verify(token, Claim(workflow, self.node, key, execution), signing_key)


@dataclass(frozen=True, slots=True)
class UnclaimedOperator:
    """Signals that answered nothing fail, which makes dead letters of them."""

    signal: str

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        why = batch.frame.select(pl.format("signal {}: {}", pl.lit(repr(self.signal)), pl.col(WHY))).to_series()
        return Result(failed=fail(batch, "signal_unclaimed", why))


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
