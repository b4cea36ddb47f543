"""write-file: items into files. The trigger that reads files is `file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.connectors.files.csv import CSV_KINDS
from streamflow.connectors.files.formats import FileFormat, kind_of
from streamflow.connectors.files.sink import FileSink, FileWrites
from streamflow.nodes.checks import CONTRADICTION, WRONG_TYPE
from streamflow.sdk.errors import UsageError
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile(Node):
    """Write items to files: JSON lines, CSV, Avro or Parquet. (To read files use `file`.)

    `path: out/orders.csv` makes `out/orders-<partition>-<number>.csv`: each task writes files of its own. A file gets
    its name when it is whole: when it has reached a limit, or when the workflow stops. Every item is in exactly one
    file, whatever crashes: until then rows are in a hidden file beside it, of which only what was committed counts. A
    file that is there already is never replaced: then the new one's name gets `~1` behind its number.
    """

    spec: ClassVar = NodeSpec(
        kind="write-file",
        category="action",
        outputs=(),
        stores=(Store(name="parts", help="The file that is being written, and how much of it is committed."),),
        icon="file-output",
        example="archive: {type: write-file, path: out/orders.parquet, rows_max: 500000}",
    )
    path: str = param(
        help="Name of the files, relative to the folder of the workflow file; a number goes before its end.",
        min_length=1,
    )
    format: Literal["jsonl", "csv", "avro", "parquet"] | None = param(
        default=None, help="Encoding. Left out: by the end of the name."
    )
    rows_max: int = param(default=1_000_000, ge=1, le=100_000_000, help="Items of a file; then the next one begins.")
    size_bytes_max: int = param(
        default=256 << 20,
        ge=1,
        help="Size of a file (of Parquet and Avro: of its rows in Avro); then the next one begins.",
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        source = ctx.inputs["in"]
        try:
            chosen = self._format()
        except UsageError as error:
            ctx.report(CONTRADICTION, error.message, param="path", mend=error.mend)
            return {}
        if source.kind != "record" and chosen != "jsonl":
            ctx.report(
                CONTRADICTION,
                f"{chosen} files hold records; items are {source}.",
                param="format",
                mend="Make typed items with set and keep: [], or write jsonl.",
            )
        if source.kind == "bytes" and chosen == "jsonl":
            ctx.report(
                CONTRADICTION, "items of bytes are no JSON.", param="format", mend="Put them into a field with set."
            )
        for field in source.fields if chosen == "csv" else ():
            if field.type.kind not in CSV_KINDS | {"any", "time"}:
                ctx.report(
                    WRONG_TYPE,
                    f"a cell of CSV cannot hold {field.name!r}, which is {field.type}.",
                    param="format",
                    mend="Turn it into text with to_json(), or write jsonl.",
                )
        return {}

    def operator(self, ctx: BuildContext) -> Operator:
        writes = FileWrites(
            path=ctx.output_path(self.path),
            format=self._format(),
            schema=ctx.inputs["in"],
            rows_max=self.rows_max,
            size_bytes_max=self.size_bytes_max,
        )
        return FileSink(writes, ctx.partition)

    def _format(self) -> FileFormat:
        kind = kind_of(self.path, self.format)
        if kind.gzip:
            raise UsageError("written files are not compressed with gzip.", mend="Leave .gz out, or write parquet.")
        return kind.format
