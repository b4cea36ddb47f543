"""What operators on tables share: the changes of a step in order, and at each of them the latest row of its key.

A table is known by its changes: a row takes the place of the one with its key, a deletion takes it away. Every row that
a step brings, and every row that was kept before, is a version with a number; at each change it is looked up which
version was there before it and which is there behind it. So a step does what its changes do one by one, and reads and
writes the state of each of its keys once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import KEY, PATH, ROW, TS, Batch
from streamflow.model.types import LONG, PAYLOAD, Schema, frame_schema, record_of
from streamflow.operators.errors import evaluate
from streamflow.operators.explode import index_bytes
from streamflow.operators.keys import key_bytes
from streamflow.operators.windowing import groups_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

Int64s = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
NOTHING = -1  # no version: there is no row
NAME, PORT, AT = "@:name", "@:port", "@:at"
_CURRENT, _GROUP = "@:current", "@:group"


@dataclass(frozen=True, slots=True)
class PortKey:
    """How the rows of a port say their key: expression `key` of `projection`, called `label` in messages. Without a
    projection the key is the one that they were partitioned by.
    """

    projection: Projection | None = None
    label: str = ""

    def names(self, batch: Batch) -> tuple[Batch, pl.Series, Batch | None]:
        """(rows that have a key or null, the bytes of those keys, rows whose key failed)."""
        if self.projection is None:
            return batch, batch.frame[KEY].alias(NAME), None
        batch, values, failed = evaluate(batch, self.projection, {"key": self.label})
        return batch, key_bytes(values["key"], self.projection.types["key"]).alias(NAME), failed


@dataclass(slots=True)
class Changes:
    """The keyed rows of a step, of all ports, in order.

    `frame`: a row for each with its reserved columns, `@:name` (its key as bytes), `@:port` (number of the port) and
    `@:at` (its row in `batches` of that port). `group` is the number of each row's key; `names` are the keys.
    `without_key`: rows with a null key by port; they are in `batches`, and not in `frame`.
    """

    ports: Sequence[str]
    batches: dict[str, Batch]
    frame: pl.DataFrame
    group: Int64s
    names: list[bytes]
    without_key: Mapping[str, int]
    failures: list[Batch | None]

    def of(self, port: str) -> Bools:
        """Which rows came by a port; none where the node has no such port connected."""
        number = self.ports.index(port) if port in self.ports else len(self.ports)
        return (self.frame[PORT] == number).to_numpy()

    @property
    def at(self) -> Int64s:
        return self.frame[AT].to_numpy().astype(np.int64)


def gather(inputs: Mapping[str, Batch], keys: Mapping[str, PortKey]) -> Changes:
    """The rows of a step in order of arrival; rows that arrived as one stand in the order of `keys`."""
    ports, failures = list(keys), []
    batches: dict[str, Batch] = {}
    without_key: dict[str, int] = {}
    frames: list[pl.DataFrame] = []
    for number, port in enumerate(ports):
        if port not in inputs:
            continue
        batch, names, failed = keys[port].names(inputs[port])
        failures.append(failed)
        batches[port] = batch
        without_key[port] = names.null_count()
        rows = batch.frame.select(batch.reserved_columns()).with_columns(
            names, pl.lit(number, dtype=pl.UInt8).alias(PORT), pl.int_range(0, len(batch), dtype=pl.Int64).alias(AT)
        )
        frames.append(rows.filter(pl.col(NAME).is_not_null()) if without_key[port] else rows)
    frame = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")
    if len(frames) > 1:
        by = [c for c in (ROW, PATH, PORT) if c in frame.columns]
        frame = frame.sort(by, maintain_order=True)
    group, first = groups_of(frame, [NAME]) if frame.height else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    named = frame[NAME].gather(first).to_list()
    return Changes(ports, batches, frame, group, named, without_key, failures)


@dataclass(slots=True)
class Versions:
    """All rows that a table had in a step. `rows`: payload columns and `@ts`, by number of the version.

    `before` and `after`: number of the version at each change of the step, NOTHING where there is no row.
    """

    rows: pl.DataFrame
    before: Int64s
    after: Int64s
    initial: Int64s  # by group: the version that was kept
    last: Int64s  # by group: the version that is to be kept

    def take(self, versions: Int64s, names: Mapping[str, str] | None = None) -> list[pl.Series]:
        """Payload columns of these versions, nulls for NOTHING. `names`: new name of each column that is taken."""
        at = indices(versions)
        taken = {c: c for c in self.rows.columns if c != TS} if names is None else names
        return [self.rows[c].gather(at).alias(n) for c, n in taken.items()]

    def times(self, versions: Int64s) -> pl.Series:
        return self.rows[TS].gather(indices(versions))


def indices(versions: Int64s) -> pl.Series:
    """Row numbers to gather by; null for NOTHING."""
    at = pl.Series(versions)
    return at.zip_with(at != NOTHING, pl.Series([None], dtype=at.dtype)).cast(pl.UInt32)


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows that were kept before a step. `groups`: number of the key of each of `rows`."""

    groups: Int64s
    rows: pl.DataFrame


@dataclass(slots=True)
class TableState:
    """The latest row of each key of a table, with its event time: an entry a key, named by the bytes of the key."""

    schema: Schema
    store: str
    _codec: RowCodec = field(init=False)
    _names: Mapping[str, str] = field(init=False)  # column of a frame -> field of the kept record

    def __post_init__(self) -> None:
        fields = {f.name: f.type for f in self.schema.fields} if self.schema.kind == "record" else {"item": self.schema}
        time = "__time"
        while time in fields:
            time += "_"
        self._codec = RowCodec(record_of({**fields, time: LONG.optional()}), name="Kept")
        columns = list(fields) if self.schema.kind == "record" else [PAYLOAD]
        self._names = {**dict(zip(columns, fields, strict=True)), TS: time}

    def versions(self, changes: Changes, store: StateStore, *, upserts: str, deletions: str) -> Versions:
        """The table's rows over a step. `upserts` and `deletions`: the ports by which its changes come."""
        arrived = changes.batches.get(upserts)
        upserted = changes.of(upserts)
        return self.over(changes, self.kept(changes.names, store), arrived, upserted, upserted | changes.of(deletions))

    def kept(self, names: list[bytes], store: StateStore) -> Kept:
        """What is kept of these keys."""
        found = store.get_many(names)
        there = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
        return Kept(there, self._decoded([value for value in found if value is not None]))

    def over(self, changes: Changes, kept: Kept, arrived: Batch | None, upserted: Bools, touched: Bools) -> Versions:
        """The table's rows over a step. `arrived`: rows that replace others, of which `changes.at` tells the numbers
        where `upserted`; where only `touched`, a row is taken away.
        """
        known, rows = kept.groups, kept.rows
        number = pl.Series(np.where(upserted, changes.at + len(known), NOTHING))
        current = number.zip_with(pl.Series(touched), pl.Series([None], dtype=pl.Int64))
        if arrived is not None:
            rows = pl.concat([rows, arrived.frame.select(list(self._names))])
        over = pl.DataFrame(
            {
                _GROUP: np.concatenate([known, changes.group]),
                _CURRENT: pl.concat([pl.int_range(0, len(known), dtype=pl.Int64, eager=True), current]),
            }
        )
        after = pl.col(_CURRENT).forward_fill()
        done = over.select(after.shift(1).over(_GROUP).alias("before"), after.over(_GROUP).alias("after"))
        done = done.fill_null(NOTHING).slice(len(known))
        initial = np.full(len(changes.names), NOTHING, np.int64)
        initial[known] = np.arange(len(known))
        last, at_last = initial.copy(), done["after"].to_numpy()
        last[changes.group] = at_last  # of several, numpy keeps the last one
        return Versions(rows, done["before"].to_numpy(), at_last, initial, last)

    def keep(self, changes: Changes, versions: Versions, store: StateStore) -> None:
        """Write what the step made of each key."""
        changed = versions.last != versions.initial
        put = np.flatnonzero(changed & (versions.last != NOTHING))
        if len(put):
            rows = versions.rows[pl.Series(versions.last[put], dtype=pl.UInt32)]
            encoded = self._codec.encode(rows.rename(dict(self._names)))
            store.put_many([changes.names[i] for i in put.tolist()], encoded)
        gone = np.flatnonzero(changed & (versions.last == NOTHING))
        store.delete_many([changes.names[i] for i in gone.tolist()])

    def shown(self, entries: Sequence[tuple[bytes, bytes]]) -> pl.DataFrame:
        """Entries of the store as `sdk.state.ReadsState` has them: keys, fields, and `__time`."""
        nothing = [pl.lit(None, dtype=pl.Int64).alias(name) for name in (STATE_FROM, STATE_TO)]
        rows = self._codec.decode([value for _, value in entries])
        keys = pl.Series(STATE_KEY, [key for key, _ in entries], dtype=pl.Binary)
        return rows.select(keys, *nothing, pl.all())

    def _decoded(self, values: list[bytes]) -> pl.DataFrame:
        frame = self._codec.decode(values).rename({field: column for column, field in self._names.items()})
        return frame.cast(pl.Schema({**frame_schema(self.schema), TS: pl.Int64()})).select(list(self._names))


def child_rows(frame: pl.DataFrame, at: Indices, *, nth: int | Int64s, ts: pl.Series) -> pl.DataFrame:
    """Reserved columns of rows that changes made: those of the change, with time `ts`. `nth`: which of its children."""
    number = pl.Series(np.broadcast_to(np.asarray(nth, np.int64), at.shape))
    rows = frame[pl.Series(at, dtype=pl.UInt32)].drop(NAME, PORT, AT)
    columns = [ts.alias(TS)]
    if PATH in rows.columns:
        columns.append((rows[PATH] + index_bytes(number)).alias(PATH))
    return rows.with_columns(columns)
