"""Avro container files: block by block, so that memory is bounded by a block."""

from __future__ import annotations

import io
from pathlib import Path

import fastavro
import polars as pl

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.connectors.files.infer import to_schema
from streamflow.connectors.files.reader import Chunk
from streamflow.model.types import Schema, frame_schema, walk

_AS_STORED = frozenset({"enum", "fixed", "map", "union", "uuid", "decimal", "any"})
