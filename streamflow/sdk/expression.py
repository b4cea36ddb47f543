"""Expressions as nodes hold them, and what the compiler makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from streamflow.model.batch import Parsed
from streamflow.model.types import Schema, Type
from streamflow.sdk.places import Place


@dataclass(frozen=True, slots=True)
class Expression:
    """Source text of an expression, and where it stands. Two are equal when their texts are."""

    text: str
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The names an expression may use.

    `item` is the schema of the items (record or any); its fields are names of their own and `item` is the whole.
    `nodes` are schemas of earlier nodes by id (what they produced for this item, read from columns
    `@nodes.<id>.<field>`).
    `vars` are the workflow's constants: JSON values.
    `loops` are the loops around, innermost first: `loop.<field>` is read from columns `@loop.<id>.<field>`,
    `loop.outer.<field>` from those of the next one.
    `meta.source|partition|offset|key|timestamp|execution|topic|schema|tags|headers` are read from reserved columns.
    """

    item: Schema
    nodes: Mapping[str, Schema] = field(default_factory=dict)
    vars: Mapping[str, object] = field(default_factory=dict)
    loops: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Values and item errors of a projection over a frame.

    `values`: one column per expression, in order, of the frame's height and the dtype of its type. A failed row holds
    null.
    `errors`: expression name -> UInt8 series of the frame's height, 0 where fine, else an `ItemErrorCode`. Only
    expressions
    that failed somewhere are present; `{}` means nothing failed.
    """

    values: pl.DataFrame
    errors: Mapping[str, pl.Series]


class Projection(Protocol):
    """Expressions compiled together against one scope."""

    @property
    def types(self) -> Mapping[str, Type]:
        """Type of each expression by name."""
        ...

    @property
    def columns(self) -> frozenset[str]:
        """Frame columns that are read, reserved ones included."""
        ...

    def run(self, frame: pl.DataFrame, parsed: Parsed | None = None) -> Evaluated:
        """Evaluate over a frame; pure, thread-safe, never raises for what an item holds.

        `parsed`: see `Batch.parsed`; JSON columns that it lacks are added.
        """
        ...


# Key among the vars of a scope under which `meta` finds what is known of the workflow as a whole.
META_VARS = "@meta."


class Accumulation(Protocol):
    """Expressions compiled together whose value at a row depends on the value before it, by group."""

    @property
    def type(self) -> Type: ...

    @property
    def columns(self) -> frozenset[str]:
        """Frame columns that are read, reserved ones included."""
        ...

    def run(
        self, frame: pl.DataFrame, group: Sequence[int], fresh: Sequence[bool], before: pl.Series
    ) -> tuple[pl.Series, pl.Series | None, pl.Series]:
        """(value at each row, error codes or None, value of each group behind all rows).

        `group`: index into `before` of each row; `fresh`: where a group begins anew. A row that fails leaves its group
        as it was, and holds null.
        """
        ...


# Codes of item errors raised by expressions; names are what dead letters and error ports show.
ITEM_ERROR_CODES: dict[int, str] = {
    1: "overflow",
    2: "division_by_zero",
    3: "bad_cast",
    4: "missing_index",
    5: "wrong_type",
    6: "invalid_argument",
    7: "too_large",
}
ITEM_ERROR_TEXTS: dict[int, str] = {
    1: "integer result does not fit 64 bits",
    2: "division by zero",
    3: "value cannot be converted",
    4: "no such index or key",
    5: "operation does not apply to this type of value",
    6: "argument is not valid for this function",
    7: "result exceeds the size limit",
}
