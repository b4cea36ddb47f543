"""code as a function of windows: a user's aggregator (see `sdk.aggregator`).

States are JSON texts between calls, whatever their number: a step of many rows then gives what the rows give one by
one, and a call that fails half-way leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, Batch
from streamflow.model.types import ANY, Schema, Type, polars_dtype, record_of
from streamflow.operators.errors import either
from streamflow.operators.folding import Columns, Int64s
from streamflow.operators.functions import BAD_RESULT, code_of
from streamflow.operators.stepwise import Stepwise, Taken, Why, unmerged
from streamflow.operators.typed_json import typed_items
from streamflow.operators.values import json_bytes, to_items
from streamflow.sdk.errors import ItemError

STATE_BYTES_MAX: Final = 1_000_000  # as JSON; a changelog record, which holds more than it, has 1 MiB
VALUE: Final = "value"


@dataclass(frozen=True, slots=True)
class Coded(Stepwise):
    """`aggregator` over the values of column `source`, which are of type `of`. `type`: of the result, `any` or a
    record. `merging`: see `Stepwise.merges`.
    """

    aggregator: Any
    source: str
    of: Type
    type: Schema
    merging: bool

    @property
    def merges(self) -> bool:
        return self.merging

    @property
    def state(self) -> Type:
        return ANY

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.source})

    def take(self, rows: pl.DataFrame, group: Int64s, fresh: Sequence[bool], before: pl.Series, *, each: bool) -> Taken:
        states: list[bytes | None] = before.to_list()
        for i in np.flatnonzero(np.array(fresh, np.bool_)).tolist():
            states[group[i]] = None
        wrong: dict[int, Why] = {}
        at: list[bytes | None] = [None] * len(group)
        if hasattr(self.aggregator, "add_frame"):
            self._take_frames(rows[self.source], group, states, at, wrong, each=each)
        else:
            for i, (whose, item) in enumerate(zip(group.tolist(), self._items(rows[self.source]), strict=True)):
                made = self._called(i, wrong, self._added, states[whose], item)
                if made is not None:
                    states[whose] = at[i] = made
        after = pl.Series(states, dtype=pl.Binary)
        return Taken(pl.Series(at, dtype=pl.Binary) if each else after.gather(group), after, wrong)

    def merged(self, before: pl.Series, group: Int64s, states: pl.Series) -> tuple[pl.Series, dict[int, Why]]:
        so_far: list[bytes] = before.to_list()
        wrong: dict[int, Why] = {}
        made: list[bytes] = []
        for i, (whose, state) in enumerate(zip(group.tolist(), states.to_list(), strict=True)):
            found = self._called(i, wrong, self._merged, so_far[whose], state)
            if found is not None:
                so_far[whose] = found
            made.append(so_far[whose])
        return pl.Series(made, dtype=pl.Binary), wrong

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        why = unmerged(state)
        lacks = state["e"].is_not_null().to_list()
        wrong: dict[int, Why] = {}
        texts: list[bytes | None] = []
        for i, text in enumerate(state["v"].to_list()):
            texts.append(None if lacks[i] else self._called(i, wrong, self._resulting, text))
        values = pl.Series(self.field, texts, dtype=pl.Binary)
        if self.type.kind == "record":
            values = self._typed(texts, wrong)
        if not wrong:
            return values, why
        told = [[wrong[i][part] if i in wrong else None for i in range(len(texts))] for part in (0, 1)]
        columns = (pl.Series(n, t, dtype=pl.String) for n, t in zip((ERROR_CODE, ERROR_MESSAGE), told, strict=True))
        return values, either(why, pl.DataFrame(list(columns)))

    def _typed(self, texts: Sequence[bytes | None], wrong: dict[int, Why]) -> pl.Series:
        """Results in their schema."""
        there = [i for i, text in enumerate(texts) if text is not None]
        frame, misfits = typed_items(pl.Series([texts[i] for i in there], dtype=pl.Binary), self.type)
        for at, (_, message) in misfits.items():
            said = f"fields.{self.field}: what `result` returned does not fit the schema: {message}"
            wrong[there[at]] = BAD_RESULT, said
        fits = [i for i in there if i not in wrong]
        place = np.full(len(texts), -1, np.int64)
        place[fits] = np.arange(len(fits))
        found = frame.select(pl.struct(pl.all()).cast(polars_dtype(self.type))).to_series()
        return found.gather(pl.Series(place).set(pl.Series(place < 0), None)).alias(self.field)

    def _take_frames(
        self,
        values: pl.Series,
        group: Int64s,
        states: list[bytes | None],
        at: list[bytes | None],
        wrong: dict[int, Why],
        *,
        each: bool,
    ) -> None:
        frame = values.struct.unnest() if self.of.kind == "record" else values.alias(VALUE).to_frame()
        order = np.argsort(group, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else ():
            whose = int(group[rows[0]])
            for part in np.split(rows, len(rows)) if each else (rows,):
                self._take_part(frame, part, whose, states, wrong)
                if each:
                    at[int(part[0])] = states[whose]

    def _take_part(
        self, frame: pl.DataFrame, rows: Int64s, whose: int, states: list[bytes | None], wrong: dict[int, Why]
    ) -> None:
        """Rows of one group; halved where they fail, until the failing ones are alone."""
        failed: dict[int, Why] = {}
        made = self._called(0, failed, self._framed, states[whose], frame[pl.Series(rows, dtype=pl.UInt32)])
        if made is not None:
            states[whose] = made
        elif len(rows) == 1:
            wrong[int(rows[0])] = failed[0]
        else:
            half = len(rows) // 2
            self._take_part(frame, rows[:half], whose, states, wrong)
            self._take_part(frame, rows[half:], whose, states, wrong)

    def _items(self, values: pl.Series) -> list[Any]:
        return [item[VALUE] for item in to_items(Batch(values.alias(VALUE).to_frame(), record_of({VALUE: self.of})))]

    def _called(self, row: int, wrong: dict[int, Why], call: Callable[..., bytes], *args: Any) -> bytes | None:
        """What a call gives; None where it fails, which is the row's error."""
        try:
            return call(*args)
        except Exception as error:  # a user's code may raise anything: it becomes the error of the row
            wrong[row] = code_of(error, f"fields.{self.field}")
            return None

    def _added(self, state: bytes | None, item: Any) -> bytes:
        return _written(self.aggregator.add(self._read(state), item))

    def _framed(self, state: bytes | None, frame: pl.DataFrame) -> bytes:
        return _written(self.aggregator.add_frame(self._read(state), frame))

    def _merged(self, a: bytes, b: bytes) -> bytes:
        return _written(self.aggregator.merge(orjson.loads(a), orjson.loads(b)))

    def _resulting(self, state: bytes) -> bytes:
        return json_bytes(self.aggregator.result(orjson.loads(state)))

    def _read(self, state: bytes | None) -> Any:
        # As if it had been written and read again: what is first is no different.
        return orjson.loads(json_bytes(self.aggregator.init()) if state is None else state)


def _written(state: Any) -> bytes:
    text = json_bytes(state)
    if len(text) > STATE_BYTES_MAX:
        raise ItemError(
            f"the state takes {len(text)} bytes with it as JSON, more than {STATE_BYTES_MAX}; keep less of each item.",
            item_code="too_large",
        )
    return text
