"""Untyped items: JSON texts in the column `@item`. Each is parsed and written once per operator where that is possible.

The polars engine knows nothing of JSON objects whose shape varies, so these kernels go through Python objects; all
others stay columnar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import ANY, PAYLOAD
from streamflow.operators.errors import failed_mask, failed_rows, without
from streamflow.sdk.errors import ItemError
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result

_NOT_AN_OBJECT = 5  # wrong_type


def parse(items: pl.Series) -> list[Any]:
    """Python values of a column of JSON texts; a text that is no JSON, or null, gives None."""
    return [_loads(v) for v in items.to_list()]


def parse_arrays(texts: pl.Series, label: str) -> tuple[pl.Series, dict[int, tuple[str, str]]]:
    """JSON arrays as lists of JSON texts, null for null: (those of arrays, {number of a text that is none: why})."""
    lists: list[list[bytes] | None] = []
    wrong: dict[int, tuple[str, str]] = {}
    for at, value in enumerate(parse(texts)):
        if value is None or isinstance(value, list):
            lists.append(None if value is None else [orjson.dumps(v) for v in value])
        else:
            wrong[at] = ("wrong_type", f"{label}: the value is no array")
    return pl.Series(lists, dtype=pl.List(pl.Binary)), wrong


def dump(values: Sequence[Any]) -> pl.Series:
    """A column `@item` of JSON texts. NaN and infinities become null."""
    return pl.Series(PAYLOAD, [orjson.dumps(v) for v in values], dtype=pl.Binary)


def _loads(text: bytes | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def edited(batch: Batch, edit: Callable[[dict[str, Any]], Any], param: str) -> tuple[Batch, Batch | None]:
    """Apply `edit` to each JSON object: (batch of new items, rows that failed).

    An item that is no object fails with wrong_type, one for which `edit` raises ItemError with that error's code.
    """
    out: list[bytes] = []
    wrong: dict[int, tuple[str, str]] = {}
    for at, value in enumerate(parse(batch.frame[PAYLOAD])):
        if not isinstance(value, dict):
            wrong[at] = ("wrong_type", f"{param}: the item is no JSON object")
            continue
        try:
            out.append(orjson.dumps(edit(value)))
        except ItemError as error:
            wrong[at] = (error.item_code, f"{param}: {error.message}")
    fine, failed = without(batch, wrong)
    return _with_items(fine, pl.Series(PAYLOAD, out, dtype=pl.Binary)), failed


@dataclass(frozen=True, slots=True, kw_only=True)
class UntypedSet:
    """`set` on JSON items. `whole` gives the new item in one go; without it, fields are put over the old item here."""

    whole: Projection | None  # named `new`
    fields: Projection  # the fields by name; with `whole` it only says, over failed rows, which of them failed
    labels: Mapping[str, str]
    keep: tuple[str, ...] | None
    remove: tuple[str, ...]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        if self.whole is None:
            return self._field_by_field(batch)
        done = self.whole.run(batch.frame, batch.parsed)
        if not done.errors:
            return Result(outputs={"out": _with_items(batch, done.values.to_series(0))})
        wrong = failed_mask(done.errors)
        items = done.values.to_series(0).filter(~wrong)
        return Result(
            outputs={"out": _with_items(batch.where(~wrong), items)},
            failed=self._explained(batch.where(wrong), done.errors["new"].filter(wrong)),
        )

    def _field_by_field(self, batch: Batch) -> Result:
        done = self.fields.run(batch.frame, batch.parsed)
        olds = parse(batch.frame[PAYLOAD])
        wrong = pl.Series([not isinstance(old, dict) for old in olds], dtype=pl.Boolean)
        if done.errors:
            wrong = wrong | failed_mask(done.errors)
        names = done.values.columns
        rows = zip(*(_plain(done.values[n]) for n in names), strict=True)
        items = [
            self._merged(old, dict(zip(names, row, strict=True)))
            for old, row, bad in zip(olds, rows, wrong.to_list(), strict=True)
            if not bad
        ]
        bad = batch.where(wrong)
        no_object = pl.repeat(_NOT_AN_OBJECT, len(bad), dtype=pl.UInt8, eager=True)
        failed = self._explained(bad, no_object) if len(bad) else None
        return Result(outputs={"out": _with_items(batch.where(~wrong), dump(items))}, failed=failed)

    def _merged(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        if self.keep is not None:
            old = {k: v for k, v in old.items() if k in self.keep}
        return {k: v for k, v in old.items() if k not in self.remove} | new

    def _explained(self, batch: Batch, codes: pl.Series) -> Batch:
        """Failed rows with the field that failed; where none did by itself, the whole did, with its code of `codes`."""
        errors = dict(self.fields.run(batch.frame, batch.parsed).errors)
        fine = ~failed_mask(errors) if errors else pl.repeat(True, len(batch), eager=True)
        if fine.any():
            of_whole = fine.cast(pl.UInt8) * codes
            errors["item"] = of_whole * (of_whole == _NOT_AN_OBJECT).cast(pl.UInt8)
            errors["whole"] = of_whole * (of_whole != _NOT_AN_OBJECT).cast(pl.UInt8)
        labels = {**self.labels, "item": "fields (the item is no JSON object)", "whole": "fields (the new item)"}
        return failed_rows(batch, errors, labels)


def _plain(values: pl.Series) -> list[Any]:
    """Values as plain JSON; those of constants are no JSON texts, as nothing of the item had to be read for them."""
    return parse(values) if values.dtype == pl.Binary else values.to_list()


def _with_items(batch: Batch, items: pl.Series) -> Batch:
    return batch.with_frame(batch.frame.with_columns(items.alias(PAYLOAD)), ANY)
