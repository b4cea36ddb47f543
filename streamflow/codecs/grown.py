"""Raw records of a schema that got one more field at its end, which may be null, null first: those that were written
without it are the same bytes but for the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from streamflow.codecs.avronodes import Node
from streamflow.codecs.decoding import Errors, ValueReader

_NULL: Final = b"\0"  # the index of null in its union, with nothing behind it


class GrownReader:
    """A `ValueReader` that takes values of both schemas. Those of the new one are read as ever; each other one is tried
    again with null as its last field before it is bad.
    """

    def __init__(self, reader: ValueReader) -> None:
        self.reader = reader
        self.schema, self.prefix_size = reader.schema, reader.prefix_size

    def native(self, prefix: bytes) -> Node | None:
        return self.reader.native(prefix)

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        return self.reader.finish(raw, prefix)

    def prefix(self, value: bytes) -> bytes:
        return self.reader.prefix(value)

    def null_item(self) -> bool:
        return self.reader.null_item()

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        frame, errors = self.reader.values(values, prefix)
        if not errors:
            return frame, errors
        tried = list(errors)
        again, still = self.reader.values([values[i] + _NULL for i in tried], prefix)
        # A new record that was cut behind its last union's index would read as one with empty text.
        fits = again[self.schema.fields[-1].name].is_null()
        read = (i for n, i in enumerate(tried) if n not in still)
        old = [i for i, fine in zip(read, fits.to_list(), strict=True) if fine]
        rows = pl.Series([*(i for i in range(len(values)) if i not in errors), *old], dtype=pl.UInt32)
        left = {i: why for i, why in errors.items() if i not in set(old)}
        return pl.concat([frame, again.filter(fits)])[rows.arg_sort()], left
