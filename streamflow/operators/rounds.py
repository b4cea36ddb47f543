"""What rows of a loop remember while they go round: columns `@loop.<id>.…`, and their place in `@path`.

| column    | dtype           | what |
|-----------|-----------------|------|
| `index`   | Int64           | number of the round that the row is in, from 0 |
| `count`   | Int64           | how many rounds it is going to take, where that is known before the first |
| `start`, `step`, `value` | Int64 | of loops that count: `value` = start + index * step |
| `each`, `item` or `items` | List, any | the array, and what of it this round is about |
| `results` | List            | what was collected; arrays in a struct `v`, as lists would be joined |
| `taken0` … | any            | what was collected and is not in `results` yet |
| `depth`   | Int64           | bytes of `@path` before the loop |
| `home`, `home_key` | Int32, Binary | across topics: the task that it entered in, and its record key there |

In the loop the number of the round stands in `@path` behind what was there before it, 4 bytes big-endian, so that what
one item becomes in different rounds has different paths. It is taken out where the row leaves.
"""

from __future__ import annotations

import orjson
import polars as pl

from streamflow.model.batch import KEY, PATH, Batch, loop_column
from streamflow.model.types import PAYLOAD, Schema, Type, polars_dtype, record_of
from streamflow.operators.explode import index_bytes

HOME, HOME_KEY = "home", "home_key"
_INDEX_BYTES = 4
_TAKEN_MAX = 32


class Rounds:
    """The columns of one loop."""

    def __init__(self, loop: str, collects: pl.DataType | None = None, *, home: int | None = None) -> None:
        """`collects`: dtype of what is collected at the end of rounds. `home`: the task, where rows go round across
        topics: rows that come back together may then be in different rounds.
        """
        self._loop, self._collects, self._home = loop, collects, home
        self._prefix = loop_column(loop, "")

    @property
    def across(self) -> bool:
        """Whether rows come back by a topic."""
        return self._home is not None

    def name(self, field: str) -> str:
        return loop_column(self._loop, field)

    def entered(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows before their first round."""
        frame = frame.drop([c for c in frame.columns if c.startswith(self._prefix)])
        made = [pl.lit(0, pl.Int64).alias(self.name("index"))]
        if PATH in frame.columns:
            made.append(pl.col(PATH).bin.size().cast(pl.Int64).alias(self.name("depth")))
        if self._home is not None:
            made += [pl.lit(self._home, pl.Int32).alias(self.name(HOME)), pl.col(KEY).alias(self.name(HOME_KEY))]
        return frame.with_columns(made)

    def begun(self, frame: pl.DataFrame, *, first: bool) -> pl.DataFrame:
        """Rows as the body gets them: the round in their paths."""
        if PATH not in frame.columns or not frame.height:
            return frame
        depth = pl.col(self.name("depth"))
        number = index_bytes(frame[self.name("index")])
        behind = pl.lit(b"") if first else pl.col(PATH).bin.slice(depth + _INDEX_BYTES)
        parts = frame.select(pl.col(PATH).bin.slice(0, depth).alias("head"), behind.alias("tail"))
        return frame.with_columns((parts["head"] + number + parts["tail"]).alias(PATH))

    def left(self, frame: pl.DataFrame, *, first: bool) -> pl.DataFrame:
        """Rows as they leave: nothing remembered, and no round in their paths. `first`: they were never in the body."""
        if PATH in frame.columns and frame.height and not first:
            depth = pl.col(self.name("depth"))
            parts = frame.select(
                pl.col(PATH).bin.slice(0, depth).alias("head"),
                pl.col(PATH).bin.slice(depth + _INDEX_BYTES).alias("tail"),
            )
            frame = frame.with_columns((parts["head"] + parts["tail"]).alias(PATH))
        return frame.drop([c for c in frame.columns if c.startswith(self._prefix)])

    # Collected values: each round's in a column of its own, of which some go into the list at once. All rows that come
    # back together within a step have been round equally often; across topics each value goes into the list at once.

    def nothing_collected(self, frame: pl.DataFrame) -> pl.DataFrame:
        assert self._collects is not None
        empty = pl.Series(self.name("results"), [[]], dtype=pl.List(self._element(self._collects)))
        return frame.with_columns(empty.new_from_index(0, frame.height))

    def collect(self, frame: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
        """`frame` with a value more for each row."""
        taken = self._taken(frame)
        frame = frame.with_columns(values.alias(self.name(f"taken{len(taken)}")))
        if not self.across and len(taken) + 1 < _TAKEN_MAX:
            return frame
        return frame.with_columns(self._folded(frame)).drop(self._taken(frame))

    def collected(self, frame: pl.DataFrame) -> pl.Series:
        """What was collected, a list a row."""
        lists = self._folded(frame)
        return lists.list.eval(pl.element().struct.field("v")) if self._wraps else lists

    def _folded(self, frame: pl.DataFrame) -> pl.Series:
        name, taken = self.name("results"), [pl.col(c) for c in self._taken(frame)]
        if not taken or not frame.height:
            return frame[name]
        values = [pl.struct(c.alias("v")) for c in taken] if self._wraps else taken
        return frame.select(pl.concat_list(pl.col(name), *values).alias(name)).to_series()

    def _taken(self, frame: pl.DataFrame) -> list[str]:
        names = (self.name(f"taken{n}") for n in range(_TAKEN_MAX))
        return [name for name in names if name in frame.columns]

    def _element(self, dtype: pl.DataType) -> pl.DataType:
        return pl.Struct({"v": dtype}) if self._wraps else dtype

    @property
    def _wraps(self) -> bool:
        return isinstance(self._collects, pl.List)


def collected_element(of: Type) -> Type:
    """What column `results` is a list of, where values of this type are collected."""
    return record_of({"v": of.optional()}) if isinstance(polars_dtype(of), pl.List) else of.optional()


def with_results(batch: Batch, lists: pl.Series, name: str, schema: Schema) -> tuple[Batch, dict[int, tuple[str, str]]]:
    """Items with the lists as their field `name`; code and message of those that cannot have one, by row number.

    Items and values that are untyped are JSON texts. `schema`: of the items made.
    """
    if batch.schema.kind == "record":
        of = schema.field(name)
        assert of is not None
        column = _as_json(lists) if of.type.kind == "any" else lists
        return batch.with_frame(batch.frame.with_columns(column.alias(name)), schema), {}
    texts: list[bytes | None] = []
    wrong: dict[int, tuple[str, str]] = {}
    for at, (text, array) in enumerate(zip(batch.frame[PAYLOAD].to_list(), _as_json(lists).to_list(), strict=True)):
        item = orjson.loads(text) if text is not None else None
        if isinstance(item, dict):
            texts.append(orjson.dumps({**item, name: orjson.Fragment(array)}))
        else:
            texts.append(text)
            wrong[at] = ("wrong_type", "collect_as: the item is no JSON object")
    column = pl.Series(PAYLOAD, texts, dtype=pl.Binary)
    return batch.with_frame(batch.frame.with_columns(column), schema), wrong


def _as_json(lists: pl.Series) -> pl.Series:
    """Lists of JSON texts as texts of JSON arrays."""
    texts = [b"[" + b",".join(b"null" if v is None else v for v in row) + b"]" for row in lists.to_list()]
    return pl.Series(lists.name, texts, dtype=pl.Binary)
