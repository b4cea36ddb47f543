"""Of each execution the rows of one port pass: of the one whose rows came first.

Where rows of an execution come by several topics, the store remembers which port that was, until no more of them can
come: `x<execution>` -> how many are on their way, the number of a connection to the port, and whether it was said that
others have lost.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION, PATH, ROW, Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import fail
from streamflow.operators.gathering import FULL, STORE, Bounds
from streamflow.operators.packing import Packing
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO

_HEAD = struct.Struct(">qb?")
_HEADS, _COUNT = b"x", b"c"
_NONE: Final = -1


@dataclass(slots=True)
class FirstGatherOperator:
    """Rows pass at once or are filtered; they come packed, in the order of the topic. `sides`: the port that each
    connection leads to. `stops`: what the execution still has on other branches is to end (`sdk.operator.Races`).
    """

    packing: Packing
    sides: Sequence[str]
    bounds: Bounds
    stops: bool = False
    _decided: list[tuple[str, str, bool]] = field(default_factory=list)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, store = inputs["in"], ctx.store(STORE)
        names = [(execution or "").encode() for execution in batch.frame[EXECUTION].to_list()]
        heads = self._heads(ctx, names)
        opened = int.from_bytes(store.get(_COUNT) or b"", "big")
        before, passes, refused = opened, list[bool](), list[int]()
        for at, (name, port) in enumerate(zip(names, self.packing.numbers(batch).to_list(), strict=True)):
            coming, won, told = heads[name]
            if won == _NONE and (opened >= self.bounds.executions_max or not name):
                refused.append(at)
                passes.append(False)
                continue
            if won == _NONE:
                heads[name], opened, won = (coming, port, told), opened + 1, port
            passes.append(self.sides[port] == self.sides[won])
        self._write(ctx, {name: head for name, head in heads.items() if head[1] != _NONE})
        if opened != before:
            store.put(_COUNT, opened.to_bytes(8, "big"))
        mask = pl.Series(passes, dtype=pl.Boolean)
        failed = None
        if refused:
            said = f"{self.bounds.executions_max} executions are open here (executions_max)."
            failed = fail(batch.with_frame(batch.frame[refused]), FULL, said)
        passed = batch.where(mask)
        filtered = len(batch) - len(passed) - len(refused)
        return Result(outputs=self.packing.unpack(passed), failed=failed, filtered=filtered)

    def settle(self, executions: Sequence[str], rows: Sequence[int], ctx: Context) -> Result:
        store, names = ctx.store(STORE), [execution.encode() for execution in executions]
        heads = self._heads(ctx, names)
        opened = int.from_bytes(store.get(_COUNT) or b"", "big")
        before, over = opened, list[bytes]()
        for name, by in zip(names, rows, strict=True):
            coming, won, told = heads[name]
            left = coming + by
            if left == 0:
                over.append(name)
                opened -= won != _NONE
            if told and left == 0:
                self._decided.append((name.decode(), self.sides[won], True))
            elif self.stops and not told and left and won != _NONE:
                self._decided.append((name.decode(), self.sides[won], False))
                told = True
            heads[name] = (left, won, told)
        store.delete_many([_HEADS + name for name in over])
        self._write(ctx, {name: head for name, head in heads.items() if head[0]})
        if opened != before:
            store.put(_COUNT, opened.to_bytes(8, "big"))
        return Result()

    def take_decided(self) -> Sequence[tuple[str, str, bool]]:
        decided, self._decided = self._decided, []
        return decided

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Executions that have begun here and of which more rows can come, with the port that was first."""
        found = [(k[1:].decode(), _read(v)[1]) for k, v in stores[STORE] if k.startswith(_HEADS)]
        first = [(execution, self.sides[port]) for execution, port in found if port != _NONE]
        nothing = pl.Series([None] * len(first), dtype=pl.Int64)
        return pl.DataFrame(
            [
                pl.Series(STATE_KEY, [None] * len(first), dtype=pl.Binary),
                nothing.alias(STATE_FROM),
                nothing.alias(STATE_TO),
                pl.Series(EXECUTION, [execution for execution, _ in first], dtype=pl.String),
                pl.Series("@first", [port for _, port in first], dtype=pl.String),
            ]
        )

    def _heads(self, ctx: Context, names: Sequence[bytes]) -> dict[bytes, tuple[int, int, bool]]:
        distinct = list(dict.fromkeys(names))
        values = ctx.store(STORE).get_many([_HEADS + name for name in distinct])
        read = [(0, _NONE, False) if value is None else _read(value) for value in values]
        return dict(zip(distinct, read, strict=True))

    def _write(self, ctx: Context, heads: Mapping[bytes, tuple[int, int, bool]]) -> None:
        ctx.store(STORE).put_many([_HEADS + name for name in heads], [_HEAD.pack(*head) for head in heads.values()])


def _read(value: bytes) -> tuple[int, int, bool]:
    """An entry; those of earlier versions do not say whether others were told."""
    coming, won, said = _HEAD.unpack(value.ljust(_HEAD.size, b"\0"))
    return coming, won, said


@dataclass(frozen=True, slots=True)
class FirstOperator:
    """The same where all rows of an execution are together: first is what is first in the order of arrival."""

    ports: Sequence[str]
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        given = [(number, inputs[port]) for number, port in enumerate(self.ports) if port in inputs]
        frames = [rows.frame.with_columns(pl.lit(number, dtype=pl.Int32).alias("@from")) for number, rows in given]
        every = pl.concat(frames, how="diagonal").sort(ROW, PATH, "@from", maintain_order=True)
        first = pl.col("@from").first().over(EXECUTION)
        passed = every.filter(pl.col("@from") == first).drop("@from")
        outputs = {"out": Batch(passed, self.schema)} if passed.height else {}
        return Result(outputs=outputs, filtered=every.height - passed.height)
