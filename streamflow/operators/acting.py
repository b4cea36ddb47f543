"""Rows that have an effect outside the log, each by itself: what fails fails alone, what is too many is counted.

The effect is a function over rows. Today it is called in the step; a stage of its own may await it later.
State where there is a rate: one entry, with when the present span began, how many were sent in it and how many since
the last one were not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamflow.model.batch import Batch
from streamflow.operators.errors import evaluate, join_failed, without
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result

RATE: Final = "rate"
_NAME: Final = b"rate"
_ENTRY = struct.Struct(">qqq")

# Values of the projection by name, a row -> "" or what went wrong, a row, and its code where that is not the
# operator's. None: there are no effects (a replay).
Wrong = str | tuple[str, str]
Act = Callable[[Sequence[Mapping[str, object]]], Sequence[Wrong]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `count` within `within_ms`, from the first of them on."""

    count: int
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOperator:
    """Rows pass on as they came once the effect was had. `told`: the value that is told how many were left out."""

    projection: Projection
    labels: Mapping[str, str]
    act: Act | None
    code: str
    rate: Rate | None = None
    told: str = ""

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.projection, self.labels)
        rows = values.select(list(self.projection.types)).to_dicts()
        wrong = self._all(rows) if self.rate is None else self._some(rows, self.rate, ctx)
        told = {at: (self.code, why) if isinstance(why, str) else why for at, why in wrong.items()}
        fine, more = without(batch, told)
        return Result(outputs={"out": fine} if len(fine) else {}, failed=join_failed([failed, more]))

    def _all(self, rows: Sequence[Mapping[str, object]]) -> dict[int, Wrong]:
        said: Sequence[Wrong] = [] if self.act is None else self.act(rows)
        return {at: why for at, why in enumerate(said) if why}

    def _some(self, rows: Sequence[Mapping[str, object]], rate: Rate, ctx: Context) -> dict[int, Wrong]:
        """One by one, for whether there is room depends on which before succeeded. What failed took no room."""
        store = ctx.store(RATE)
        before = store.get(_NAME)
        began_ms, sent, left_out = _ENTRY.unpack(before) if before is not None else (0, 0, 0)
        wrong: dict[int, Wrong] = {}
        for at, row in enumerate(rows):
            if not began_ms <= ctx.now_ms < began_ms + rate.within_ms:
                began_ms, sent = ctx.now_ms, 0
            if sent >= rate.count:
                left_out += 1
                continue
            if left_out:
                row = {**row, self.told: f"{row[self.told]}\n\n({left_out} more since the last were not sent.)"}
            if self.act is not None and (why := self.act([row])[0]):
                wrong[at] = why
                continue
            sent, left_out = sent + 1, 0
        after = _ENTRY.pack(began_ms, sent, left_out)
        if after != before and rows:
            store.put(_NAME, after)
        return wrong
