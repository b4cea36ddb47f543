"""Records for the topics that a workflow reads: made from their schemas, or taken from a file, and repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from streamflow.bench.columns import BEGIN_MS, Maker
from streamflow.codecs import Encoder, encoder
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.model.types import PAYLOAD, polars_dtype
from streamflow.operators.partition import partition_for
from streamflow.operators.typed_json import typed_items
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import NewBatch
from streamflow.topology.plan import TopicPlan

POOL: Final = 10_000  # different items; more records repeat them under other times
CHUNK: Final = 50_000  # records that are made at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How items are drawn. `skew`: of Zipf's law, by which some of the items come more often; 0: all alike."""

    seed: int = 0
    skew: float = 0.0
    key: str = ""  # field whose text becomes the record key; "" gives records none


class Feed:
    """The records of one topic, in order."""

    def __init__(
        self, topic: TopicPlan, partitions: int, recipe: Recipe, registry: SchemaRegistry, items: pl.DataFrame | None,
        *, time: str = "",
    ) -> None:  # fmt: skip
        """`items`: to be drawn from, instead of what the schema makes. `time`: what says their event time; "" is the
        record's timestamp. Raises UsageError.
        """
        self.topic, self._partitions, self._recipe = topic.name, partitions, recipe
        self._encoder: Encoder = encoder(topic.codec, registry=registry)
        schema = topic.codec.schema
        if items is None and schema.kind != "record":
            raise UsageError(
                f"topic {topic.name!r} has no schema that says what is on it: items are {schema.kind!r}.",
                mend="Give the trigger a `schema`, or items by --data FILE.",
            )
        self._pool = Maker(recipe.seed).rows(schema, POOL) if items is None else items
        if recipe.key and recipe.key not in self._pool.columns:
            raise UsageError(
                f"--key {recipe.key!r} is no field of topic {topic.name!r}.",
                mend=f"There are {', '.join(c for c in self._pool.columns if not c.startswith('@'))}.",
            )
        self._moments = [
            f
            for f in schema.fields
            if f.type.kind in ("timestamp", "local") or (f.type.kind == "long" and f.name == time)
        ]
        # Whether the times that records are given are the workflow's event times.
        self.gives_time = not time or any(f.name == time for f in self._moments)
        self._random = np.random.default_rng(recipe.seed + 1)
        weights = 1 / np.arange(1, self._pool.height + 1) ** recipe.skew
        self._weights = weights / weights.sum() if recipe.skew else None

    def frame(self, times_ms: np.ndarray) -> pl.DataFrame:
        """Items with these times: of the records (`@ts`), of all their timestamps, and of their events; with `@key`."""
        drawn = self._random.choice(self._pool.height, len(times_ms), p=self._weights)
        times = pl.Series(times_ms.astype(np.int64))
        moments = [
            (times * (1_000 if f.type.unit == "us" else 1)).cast(polars_dtype(f.type.required())).alias(f.name)
            for f in self._moments
        ]
        frame = self._pool[drawn].with_columns(*moments, times.alias(TS))
        if not self._recipe.key:
            return frame
        return frame.with_columns(pl.col(self._recipe.key).cast(pl.String).cast(pl.Binary).alias(KEY))

    def batches(self, frame: pl.DataFrame) -> Mapping[TopicPartition, Sequence[NewBatch]]:
        """The same as record batches, by key or, without one, in turn."""
        in_turn = np.arange(frame.height, dtype=np.int32) % np.int32(self._partitions)
        at = partition_for(frame[KEY], self._partitions) if KEY in frame.columns else in_turn
        found: dict[TopicPartition, Sequence[NewBatch]] = {}
        for p in range(self._partitions):
            mine = frame.filter(pl.Series(at == p))
            if mine.height:
                encoded = self._encoder.encode(mine)
                if encoded.bad:
                    raise UsageError(f"topic {self.topic!r}: an item is none of its schema: {encoded.bad[0].message}")
                found[TopicPartition(self.topic, p)] = encoded.batches
        return found

    def chunks(self, records: int) -> Iterator[Mapping[TopicPartition, Sequence[NewBatch]]]:
        """So many records, a millisecond of event time from each to the next."""
        for first in range(0, records, CHUNK):
            yield self.batches(self.frame(BEGIN_MS + np.arange(first, min(first + CHUNK, records))))


def items_of(lines: Sequence[bytes], topic: TopicPlan) -> pl.DataFrame:
    """Items of a topic from JSON lines. Raises UsageError where one does not fit."""
    schema = topic.codec.schema
    if not lines:
        raise UsageError("--data has no items.", mend="One JSON value a line.")
    texts = pl.Series(PAYLOAD, list(lines), dtype=pl.Binary)
    if schema.kind != "record":
        return texts.to_frame()
    frame, wrong = typed_items(texts, schema)
    for at, (code, why) in wrong.items():
        raise UsageError(f"--data, line {at + 1}: {why} ({code}).", mend="Give items of the topic's schema.")
    return frame
