"""Values made from a schema: the same seed, the same values."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import Field, Schema, Type, branch_names, polars_dtype

BEGIN_MS: Final = 1_704_067_200_000  # 2024-01-01, the first of all times that are made
_NULLS: Final = 0.1  # of the values of a field that may be null
_TEXTS: Final = 1_000  # different values of a text field
_ITEMS_MAX: Final = 3  # of arrays and maps
_DAY_MS: Final = 86_400_000


class Maker:
    """Makes columns of values. One generator for all: the order in which columns are asked for counts."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def rows(self, schema: Schema, count: int) -> pl.DataFrame:
        """So many items of a record schema."""
        return pl.DataFrame([self.column(f, count).alias(f.name) for f in schema.fields])

    def column(self, field: Field, count: int) -> pl.Series:
        """Values of a field; texts begin with its name. Of one that may be null some are."""
        values = self._values(field.name, field.type.required(), count)
        if not field.type.nullable or field.type.kind == "null":
            return values
        return _only(values, self._random.random(count) >= _NULLS)

    def _values(self, name: str, of: Type, count: int) -> pl.Series:
        dtype = polars_dtype(of)
        match of.kind:
            case "record":
                return self._struct({f.name: self.column(f, count) for f in of.fields}, dtype, count)
            case "union":
                return self._union(name, of, count)
            case "array" | "map":
                return self._list(name, of, count)
            case "null":
                return pl.Series([None], dtype=pl.Null()).new_from_index(0, count)
        return pl.Series(self._plain[of.kind](self, name, of, count)).cast(dtype)

    def _struct(self, columns: dict[str, pl.Series], dtype: pl.DataType, count: int) -> pl.Series:
        if not columns:
            return pl.Series([{}] * count, dtype=dtype)
        return pl.DataFrame(columns).to_struct("s").cast(dtype)

    def _union(self, name: str, of: Type, count: int) -> pl.Series:
        """A struct of which one field is not null."""
        chosen = self._random.integers(0, len(of.branches), count)
        columns = {}
        for i, (branch, kind) in enumerate(zip(branch_names(of), of.branches, strict=True)):
            values = self._values(name, kind.required(), count)
            columns[branch] = _only(values, chosen == i)
        return self._struct(columns, polars_dtype(of), count)

    def _list(self, name: str, of: Type, count: int) -> pl.Series:
        assert of.element is not None
        ends = [0, *np.cumsum(self._random.integers(0, _ITEMS_MAX + 1, count)).tolist()]
        inner: list[Any] = self.column(Field(name=name, type=of.element), ends[-1]).to_list()
        parts = [inner[a:b] for a, b in pairwise(ends)]
        if of.kind == "map":
            parts = [[{"key": f"{name}-{i}", "value": v} for i, v in enumerate(part)] for part in parts]
        return pl.Series(parts, dtype=polars_dtype(of))

    def _whole(self, count: int, below: int) -> Any:
        return self._random.integers(0, below, count)

    def _texts(self, name: str, of: Type, count: int) -> list[str]:
        return [f"{name}-{n}" for n in self._whole(count, _TEXTS).tolist()]

    def _symbols(self, name: str, of: Type, count: int) -> list[str]:
        return [of.symbols[n] for n in self._whole(count, len(of.symbols)).tolist()]

    def _octets(self, name: str, of: Type, count: int) -> list[bytes]:
        return [self._random.bytes(of.size_bytes if of.kind == "fixed" else 16) for _ in range(count)]

    def _uuids(self, name: str, of: Type, count: int) -> list[str]:
        return [str(uuid.UUID(bytes=self._random.bytes(16), version=4)) for _ in range(count)]

    def _decimals(self, name: str, of: Type, count: int) -> pl.Series:
        numbers = self._whole(count, 10 ** min(of.precision, 15)).tolist()
        return pl.Series([Decimal(n).scaleb(-of.scale) for n in numbers], dtype=polars_dtype(of))

    def _days(self, name: str, of: Type, count: int) -> Any:
        return (BEGIN_MS // _DAY_MS + self._whole(count, 365)).astype(np.int32)

    def _clock(self, name: str, of: Type, count: int) -> pl.Series:
        return pl.Series(self._whole(count, _DAY_MS) * 1_000_000).cast(pl.Time)

    def _moments(self, name: str, of: Type, count: int) -> Any:
        return (BEGIN_MS + np.arange(count)) * (1_000 if of.unit == "us" else 1)

    def _json(self, name: str, of: Type, count: int) -> list[bytes]:
        return [b'{"%s": %d}' % (name.encode(), n) for n in self._whole(count, _TEXTS).tolist()]

    def _reals(self, name: str, of: Type, count: int) -> Any:
        return np.round(self._random.random(count) * 1_000, 2)

    _plain: Final[dict[str, Callable[[Maker, str, Type, int], Any]]] = {
        "bool": lambda self, name, of, count: self._random.random(count) < 0.5,
        "int": lambda self, name, of, count: self._whole(count, 1_000),
        "long": lambda self, name, of, count: self._whole(count, 1_000_000),
        "float": _reals, "double": _reals,
        "string": _texts, "enum": _symbols, "bytes": _octets, "fixed": _octets, "uuid": _uuids, "decimal": _decimals,
        "date": _days, "time": _clock, "timestamp": _moments, "local": _moments, "any": _json,
    }  # fmt: skip


def _only(values: pl.Series, there: npt.NDArray[np.bool_]) -> pl.Series:
    """The values that are `there`; null in place of the others."""
    return values.zip_with(pl.Series(there), pl.Series([None], dtype=values.dtype).new_from_index(0, len(values)))
