"""Items of several ports on one topic: a record with the number of the port, and a field for the item of each.

Items of a single port go as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from streamflow.model.batch import PATH, ROW, Batch
from streamflow.model.types import INT, PAYLOAD, Schema, polars_dtype, record_of

PORT: Final = "port"


def packed_schema(ports: Mapping[str, Schema]) -> Schema:
    """The schema of items of these ports, in their order."""
    if len(ports) == 1:
        return next(iter(ports.values()))
    return record_of({PORT: INT, **{f"from_{port}": _within(of).optional() for port, of in ports.items()}})


def _within(item: Schema) -> Schema:
    """The schema of items within a packed one. A name without namespace would be that of another record there."""
    return item if item.kind != "record" or "." in item.name else replace(item, name="")


def port_schemas(packed: Schema, ports: Sequence[str]) -> dict[str, Schema]:
    """What `packed_schema` was given."""
    if len(ports) == 1:
        return {ports[0]: packed}
    found = {port: packed.field(f"from_{port}") for port in ports}
    return {port: field.type.required() for port, field in found.items() if field is not None}


class Packing:
    """Packs and unpacks the items of some ports. `ports`: their schemas, in order."""

    def __init__(self, ports: Mapping[str, Schema]) -> None:
        self.ports = dict(ports)
        self.schema = packed_schema(ports)

    def pack(self, inputs: Mapping[str, Batch]) -> Batch:
        """Rows of all ports in the order of arrival, of one arrival by path and port."""
        if len(self.ports) == 1:
            ((_, batch),) = inputs.items()
            return batch
        frames = [self._packed(port, inputs[port]) for port in self.ports if port in inputs]
        frame = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")
        order = [c for c in (ROW, PATH) if c in frame.columns]
        return Batch(frame.sort([*order, PORT], maintain_order=True), self.schema)

    def numbers(self, batch: Batch) -> pl.Series:
        """The port of each packed row, by its number."""
        if len(self.ports) == 1:
            return pl.repeat(0, len(batch), dtype=pl.Int32, eager=True)
        return batch.frame[PORT]

    def unpack(self, batch: Batch) -> dict[str, Batch]:
        """Rows by port, those that have some."""
        if len(self.ports) == 1:
            return dict.fromkeys(self.ports, batch) if len(batch) else {}
        found: dict[str, Batch] = {}
        numbers, reserved = self.numbers(batch), batch.reserved_columns()
        for number, (port, schema) in enumerate(self.ports.items()):
            rows = batch.frame.filter(numbers == number)
            if not rows.height:
                continue
            item = pl.col(f"from_{port}")
            if schema.kind == "record":
                columns = [item.struct.field(f.name) for f in schema.fields]
            else:
                columns = [item.alias(PAYLOAD)]
            found[port] = Batch(rows.select([*(pl.col(c) for c in reserved), *columns]), schema)
        return found

    def _packed(self, port: str, batch: Batch) -> pl.DataFrame:
        columns = [pl.lit(list(self.ports).index(port), dtype=pl.Int32).alias(PORT)]
        for name, schema in self.ports.items():
            if name != port:
                item = pl.lit(None, dtype=polars_dtype(schema))
            elif schema.kind == "record":
                item = pl.struct([f.name for f in schema.fields])
            else:
                item = pl.col(PAYLOAD)
            columns.append(item.alias(f"from_{name}"))
        return batch.frame.select([*(pl.col(c) for c in batch.reserved_columns()), *columns])
