"""Calls of a user's function: one item at a time, a frame of rows, or a whole execution.

A user's function may raise anything: whatever it raises becomes the error of the items it was called for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from streamflow.model.batch import ROW, Batch
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.errors import join_failed, without
from streamflow.operators.execution_rows import new_rows
from streamflow.operators.explode import take
from streamflow.operators.plain_rows import PlainRows
from streamflow.operators.typed_json import typed_items
from streamflow.operators.values import json_bytes, to_items
from streamflow.operators.whole_set import WholeSet
from streamflow.sdk.errors import CallLate, ItemError
from streamflow.sdk.operator import ENDING_CODES, Context, Result

EXCEPTION, BAD_RESULT = "exception", "bad_result"
_MESSAGE_MAX = 500
UserFunction = Callable[..., Any]


def _said(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…"


def empty_frame(schema: Schema) -> pl.DataFrame:
    """A frame without rows, as a frame function gets it."""
    return pl.DataFrame(schema={ROW: pl.UInt32(), **frame_schema(schema)})


@dataclass(frozen=True, slots=True)
class ItemFunction:
    """One call an item; what comes back is JSON, or made to fit a schema."""

    function: UserFunction
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        plain, all_plain = PlainRows(self.schema), True
        children: list[list[Any]] = []  # of each item that did not fail: rows, or JSON texts
        wrong: dict[int, tuple[str, str]] = {}
        single: list[bool] = []
        for at, item in enumerate(to_items(batch)):
            try:
                returned = self.function(item)
                many = isinstance(returned, list)
                found = [] if returned is None else returned if many else [returned]
                made: list[Any] = [plain.row(one) for one in found]
                if None in made:
                    made, all_plain = [json_bytes(_object(one)) for one in found], False
            except CallLate as error:
                wrong[at] = code_of(error)
                continue
            except Exception as error:  # becomes the item's error
                wrong[at] = (EXCEPTION, f"function: {_said(error)}")
                continue
            children.append(made)
            single.append(not many)
        if all_plain:
            payload = plain.columns([row for rows in children for row in rows])
            if payload is not None:
                fine, failed = without(batch, wrong)
                return self._made(fine, payload, children, single, failed)
        return self._long(batch, plain, children, single, wrong)

    def _long(
        self,
        batch: Batch,
        plain: PlainRows,
        children: list[list[Any]],
        single: list[bool],
        wrong: dict[int, tuple[str, str]],
    ) -> Result:
        """By way of JSON; rows that were taken out of their dicts become what those would have."""
        called = [at for at in range(len(batch)) if at not in wrong]
        kept: list[int] = []
        for number, (at, made) in enumerate(zip(called, children, strict=True)):
            try:
                made[:] = [plain.text(one) if type(one) is tuple else one for one in made]
            except TypeError as error:
                wrong[at] = (EXCEPTION, f"function: {_said(error)}")
                continue
            kept.append(number)
        fine, failed = without(batch, dict(sorted(wrong.items())))
        return self._result(fine, [children[i] for i in kept], [single[i] for i in kept], failed)

    def _result(self, fine: Batch, children: list[list[bytes]], single: list[bool], failed: Batch | None) -> Result:
        texts = pl.Series(PAYLOAD, [t for c in children for t in c], dtype=pl.Binary)
        if self.schema.kind == "any":
            payload = texts.to_frame()
        else:
            payload, misfits = typed_items(texts, self.schema)
            if misfits:
                return self._without_misfits(fine, children, single, failed, misfits)
        return self._made(fine, payload, children, single, failed)

    def _made(
        self, fine: Batch, payload: pl.DataFrame, children: list[list[Any]], single: list[bool], failed: Batch | None
    ) -> Result:
        reserved = fine.frame.select(fine.reserved_columns())
        counts = [len(c) for c in children]
        # What became one item keeps its lineage; members of a list get an index of their own.
        each_one = counts.count(1) == len(counts) and all(single)
        frame = reserved if each_one else take(reserved, counts, extend=[not s for s in single])
        made = Batch(frame.with_columns(payload.get_columns()), self.schema)
        return Result(outputs={"out": made} if len(made) else {}, failed=failed, filtered=counts.count(0))

    def _without_misfits(
        self,
        fine: Batch,
        children: list[list[bytes]],
        single: list[bool],
        failed: Batch | None,
        misfits: Mapping[int, tuple[str, str]],
    ) -> Result:
        """Items one of whose results does not fit the schema fail whole."""
        wrong: dict[int, tuple[str, str]] = {}
        at = 0
        for parent, texts in enumerate(children):
            bad = next((misfits[i] for i in range(at, at + len(texts)) if i in misfits), None)
            at += len(texts)
            if bad is not None:
                wrong[parent] = (BAD_RESULT, f"function: what it returned does not fit the schema: {bad[1]}")
        kept = [i for i in range(len(children)) if i not in wrong]
        rest, more = without(fine, wrong)
        return self._result(rest, [children[i] for i in kept], [single[i] for i in kept], join_failed([failed, more]))


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"the function returned {type(value).__name__}; it returns a dict, a list of dicts, or None")
    return value


@dataclass(frozen=True, slots=True)
class FrameFunction:
    """One call a step; halved where it raises, until the failing rows are alone. One that is late fails whole."""

    function: UserFunction
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        made: list[tuple[int, pl.DataFrame]] = []
        wrong: dict[int, tuple[str, str]] = {}
        self._call(batch, 0, made, wrong)
        frames = []
        for start, returned in made:
            rows = returned[ROW] + start
            reserved = batch.frame.select(batch.reserved_columns())[rows]
            frames.append(reserved.with_columns(returned.drop(ROW).get_columns()))
        out = pl.concat(frames) if frames else None
        _, failed = without(batch, wrong)
        forwarded = sum(returned[ROW].n_unique() for _, returned in made)
        return Result(
            outputs={"out": Batch(out, self.schema)} if out is not None and out.height else {},
            failed=failed,
            filtered=len(batch) - forwarded - len(wrong),
        )

    def _call(
        self, batch: Batch, start: int, made: list[tuple[int, pl.DataFrame]], wrong: dict[int, tuple[str, str]]
    ) -> None:
        try:
            made.append((start, self._aligned(call_frame(self.function, batch), len(batch))))
        except CallLate as error:  # halves would be called in vain: there may be as many calls as there are rows
            wrong.update(dict.fromkeys(range(start, start + len(batch)), code_of(error)))
        except Exception as error:  # becomes the error of the rows it was raised for
            if len(batch) <= 1:
                wrong[start] = code_of(error)
                return
            half = len(batch) // 2
            self._call(batch.with_frame(batch.frame.head(half)), start, made, wrong)
            self._call(batch.with_frame(batch.frame.slice(half)), start + half, made, wrong)

    def _aligned(self, returned: pl.DataFrame, height: int) -> pl.DataFrame:
        """Columns of the schema, and `@row` in ascending order."""
        payload = conform(returned, self.schema)
        if ROW not in returned.columns:
            if returned.height != height:
                raise ItemError(
                    f"the function returned {returned.height} rows for {height}, and no column {ROW} to align them",
                    item_code=BAD_RESULT,
                )
            rows = pl.int_range(0, height, dtype=pl.UInt32, eager=True)
        else:
            rows = returned[ROW].cast(pl.UInt32)
            if rows.null_count() or (len(rows) and int(rows.max()) >= height):  # type: ignore[arg-type]
                raise ItemError(f"column {ROW} names rows that the function was not given", item_code=BAD_RESULT)
        aligned = payload.with_columns(rows.alias(ROW))
        return aligned if rows.is_sorted() else aligned.sort(ROW, maintain_order=True)


def call_frame(function: UserFunction, batch: Batch) -> pl.DataFrame:
    """Call a frame function with the payload and `@row` numbers."""
    numbered = batch.payload().with_columns(pl.int_range(0, len(batch), dtype=pl.UInt32, eager=True).alias(ROW))
    returned = function(numbered.select(ROW, *batch.payload_columns()))
    if not isinstance(returned, pl.DataFrame):
        raise ItemError(
            f"the function returned {type(returned).__name__}; a frame function returns a polars DataFrame",
            item_code=BAD_RESULT,
        )
    return returned


def conform(returned: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Columns of the schema from what a function returned. Raises ItemError where they are missing or do not fit."""
    wanted = frame_schema(schema)
    missing = [n for n in wanted if n not in returned.columns]
    if missing:
        raise ItemError(f"the function returned no column {missing[0]!r}", item_code=BAD_RESULT)
    try:
        payload = returned.select(pl.col(n).cast(t) for n, t in wanted.items())
    except pl.exceptions.PolarsError as error:
        raise ItemError(f"a column does not fit the schema: {error}", item_code=BAD_RESULT) from None
    for field in schema.fields:
        if not field.type.nullable and payload[field.name].null_count():
            raise ItemError(f"column {field.name!r} holds a null, which the schema forbids", item_code=BAD_RESULT)
    return payload


def code_of(error: Exception, what: str = "function") -> tuple[str, str]:
    """Code and message of what a user's code raised; `what` names it."""
    if isinstance(error, ItemError):
        code = EXCEPTION if error.item_code in ENDING_CODES else error.item_code  # those are no failures
        return (code, f"{what}: {error.message}")
    return (EXCEPTION, f"{what}: {_said(error)}")


@dataclass(frozen=True, slots=True)
class _WholeFunction:
    function: UserFunction
    source: Schema
    schema: Schema

    def prepare(self, batch: Batch) -> tuple[Batch, Batch | None]:
        return batch, None

    def finish(self, rows: pl.DataFrame) -> pl.DataFrame:
        try:
            returned = conform(call_frame(self.function, Batch(rows, self.source)), self.schema)
        except Exception as error:
            code, message = code_of(error)
            raise ItemError(message, item_code=code) from error
        return new_rows(rows, returned)


def execution_function(function: UserFunction, source: Schema, schema: Schema, *, bounded: bool) -> WholeSet:
    """An operator that calls a frame function once an execution."""
    return WholeSet(_WholeFunction(function, source, schema), source, schema, bounded)
