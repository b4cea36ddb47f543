"""Both sides of a join by foreign key, where they meet: left rows find their right row, right rows all of theirs.

State: the right rows by key, and for each foreign key the left rows that name it, an entry each, named so that those of
one foreign key lie together. Of a step, each of them is a span: from the message that brought it (or from before) to
the next one of its left key. A change of a right row reaches the spans that it falls into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import PATH, ROW, TS, Batch
from streamflow.model.types import LONG, Schema, frame_schema
from streamflow.operators.errors import join_failed
from streamflow.operators.foreign_rows import DELETED, FOREIGN, KEPT_KEY, with_fields
from streamflow.operators.table_rows import (
    NOTHING,
    Bools,
    Changes,
    Int64s,
    PortKey,
    TableState,
    Versions,
    child_rows,
    gather,
)
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

LEFT, RIGHT = "left", "right"
_TIME = "__time"
_AT, _GROUP, _BEGIN, _END, _NTH = "@:pos", "@:group", "@:begin", "@:end", "@:nth"
_LAST = 2**62


@dataclass(slots=True)
class ForeignMatchesOperator:
    """`messages`: schema of what comes by `left`. `fields`: of the right side, by name in the result."""

    keys: Mapping[str, PortKey]  # `left`, `right_gone`, `right`
    messages: Schema
    right: TableState
    fields: Mapping[str, str]
    schema: Schema
    left_join: bool
    _codec: RowCodec = field(init=False)

    def __post_init__(self) -> None:
        self._codec = RowCodec(with_fields(self.messages, {_TIME: LONG.optional()}), name="Kept")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        changes = gather(inputs, self.keys)
        right = self.right.versions(changes, ctx.store(RIGHT), upserts="right", deletions="right_gone")
        self.right.keep(changes, right, ctx.store(RIGHT))
        messages = changes.of("left")
        made = [self._answered(changes, messages, right)]
        moved = ~messages & (right.before != right.after)
        spans = self._spans(changes, messages, moved, ctx.store(LEFT))
        made.append(self._reached(changes, moved, spans, right))
        frame = pl.concat(made, how="diagonal")
        alone = self._alone(changes.batches.get("left"))
        if alone is not None:
            frame = pl.concat([frame, alone], how="diagonal")
        by = [c for c in (ROW, PATH) if c in frame.columns]
        frame = frame.sort([*by, _NTH], maintain_order=True).drop(_NTH, _AT)
        spoke = np.zeros(len(changes.group), np.bool_)
        for part in made:
            spoke[part[_AT].to_numpy()] = True
        silent = 0 if self.left_join else changes.without_key.get("left", 0)
        return Result(
            outputs={"out": Batch(frame, self.schema)} if frame.height else {},
            failed=join_failed(changes.failures),
            filtered=silent + sum(n for port, n in changes.without_key.items() if port != "left"),
            absorbed=int((~spoke).sum()),
        )

    def _answered(self, changes: Changes, messages: Bools, right: Versions) -> pl.DataFrame:
        """What left rows find: their right row as it is when they come."""
        at = np.flatnonzero(messages & (self.left_join | (right.after != NOTHING)))
        rows = changes.batches["left"].frame if "left" in changes.batches else _none(self.messages)
        own = rows[pl.Series(changes.at[at], dtype=pl.UInt32)]
        return self._results(changes, at, own, right.after[at], right, np.zeros(len(at), np.int64), own[DELETED])

    def _reached(self, changes: Changes, moved: Bools, spans: pl.DataFrame, right: Versions) -> pl.DataFrame:
        """What changes of right rows are for the left rows that name them."""
        at = np.flatnonzero(moved)
        events = pl.DataFrame({_GROUP: changes.group[at], _AT: at.astype(np.int64)})
        pairs = events.join(spans, on=_GROUP, how="inner").filter(pl.col(_AT).is_between(_BEGIN, _END))
        pairs = pairs.sort([_AT, KEPT_KEY])
        where = pairs[_AT].to_numpy()
        nth = pairs.select(pl.int_range(pl.len()).over(_AT)).to_series().to_numpy()
        after = right.after[where]
        ends = (after == NOTHING) & (not self.left_join)
        shown = np.where(ends, right.before[where], after)
        return self._results(changes, where, pairs, shown, right, nth, pl.Series(ends, dtype=pl.Boolean))

    def _results(
        self,
        changes: Changes,
        at: Int64s,
        left: pl.DataFrame,
        version: Int64s,
        right: Versions,
        nth: Int64s,
        ends: pl.Series,
    ) -> pl.DataFrame:
        """Messages to the left keys. `left`: left rows with their times; `version`: of their right rows."""
        times = pl.select(
            pl.max_horizontal(
                changes.frame[TS].gather(at).alias("a"), left[TS].alias("b"), right.times(version).alias("c")
            )
        ).to_series()
        rows = child_rows(changes.frame, at, nth=nth, ts=times)
        own = [left[f.name] for f in self.messages.fields if f.name not in (FOREIGN, DELETED)]
        return rows.with_columns(
            *own, *right.take(version, self.fields), ends.alias(DELETED), pl.Series(_NTH, nth), pl.Series(_AT, at)
        )

    def _alone(self, batch: Batch | None) -> pl.DataFrame | None:
        """What left rows become that name no right row."""
        if batch is None or not self.left_join:
            return None
        rows = batch.frame.filter(pl.col(FOREIGN).is_null()).drop(FOREIGN)
        types = frame_schema(self.schema)
        return rows.with_columns(
            *(pl.lit(None, types[name]).alias(name) for name in self.fields.values()),
            pl.lit(0, pl.Int64).alias(_NTH),
            pl.lit(0, pl.Int64).alias(_AT),
        )

    def _spans(self, changes: Changes, messages: Bools, moved: Bools, store: StateStore) -> pl.DataFrame:
        """Left rows of the foreign keys whose right rows change in this step. Writes what messages made of all."""
        touched = np.unique(changes.group[moved])
        entries = [
            (int(group), value) for group in touched for _, value in store.scan(*_prefix(changes.names[int(group)]))
        ]
        kept = self._codec.decode([value for _, value in entries]).rename({_TIME: TS})
        kept = kept.with_columns(
            pl.Series(_GROUP, [g for g, _ in entries], dtype=pl.Int64), pl.lit(-1, pl.Int64).alias(_BEGIN)
        )
        at = np.flatnonzero(messages)
        rows = changes.batches["left"].frame if "left" in changes.batches else _none(self.messages)
        told = rows[pl.Series(changes.at[at], dtype=pl.UInt32)].select(c for c in kept.columns if c in rows.columns)
        told = told.with_columns(pl.Series(_GROUP, changes.group[at]), pl.Series(_BEGIN, at.astype(np.int64)))
        self._keep(changes, told, store)
        all_rows = pl.concat([kept.cast(pl.Schema(told.schema)), told.select(kept.columns)])
        following = pl.col(_BEGIN).shift(-1, fill_value=_LAST).over(_GROUP, KEPT_KEY)
        return all_rows.with_columns(following.alias(_END)).filter(~pl.col(DELETED))

    def _keep(self, changes: Changes, told: pl.DataFrame, store: StateStore) -> None:
        last = told.unique([_GROUP, KEPT_KEY], keep="last", maintain_order=True)
        names = [
            _prefix(changes.names[group])[0] + key
            for group, key in zip(last[_GROUP].to_list(), last[KEPT_KEY].to_list(), strict=True)
        ]
        gone = last[DELETED].to_list()
        there = last.filter(~pl.col(DELETED)).rename({TS: _TIME})
        store.put_many([n for n, ends in zip(names, gone, strict=True) if not ends], self._codec.encode(there))
        store.delete_many([n for n, ends in zip(names, gone, strict=True) if ends])


def _prefix(name: bytes) -> tuple[bytes, bytes]:
    """(what names of left rows of a foreign key begin with, the least name behind all of them)."""
    start = len(name).to_bytes(4, "big") + name
    return start, _following(start)


def _following(prefix: bytes) -> bytes:
    """The least text of bytes above all that begin with `prefix`, which is not all 0xff: its length comes first."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1])


def _none(messages: Schema) -> pl.DataFrame:
    return pl.DataFrame(schema={**frame_schema(messages), TS: pl.Int64()})
