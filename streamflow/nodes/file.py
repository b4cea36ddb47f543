"""file: the trigger that reads files. The action that writes them is `write-file`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.connectors.files.csv import CSV_KINDS
from streamflow.connectors.files.formats import files_of, kind_of
from streamflow.connectors.files.infer import infer_schema
from streamflow.connectors.files.source import FileReads, FileSource
from streamflow.expressions import compile_projection
from streamflow.model.policies import Extent
from streamflow.model.types import Schema
from streamflow.nodes.checks import (
    CONTRADICTION,
    TIME_MS_MAX,
    UNREADABLE,
    WRONG_TYPE,
    base_folder,
    report_key,
    trigger_type,
)
from streamflow.operators.errors import label
from streamflow.operators.times import TIME_KINDS
from streamflow.sdk.errors import StreamflowError, UsageError
from streamflow.sdk.expression import Expression, Projection, Scope
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, SchemaRef, Schemas, param
from streamflow.sdk.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Node):
    """Read files: JSON lines, CSV, Avro or Parquet. (To write files use `write-file`.)

    Files are read in order of name, rows in order of the file, in pieces of bounded size, and reading resumes where
    the last commit left it. A line that does not decode goes to the dead letter topic; the rest of the file goes on.
    Without a schema the one stored in Avro and Parquet files is used, that of CSV is inferred from its first 10,000
    lines (a later cell that does not fit makes its line undecodable), and JSON lines are untyped. Column titles that
    are no names get `_` for what is no letter or digit. A file without rows starts no execution. Files that appear
    while it runs are not read.
    """

    spec: ClassVar = NodeSpec(
        kind="file",
        category="trigger",
        inputs=(),
        outputs=(Port(name="out", help="One item for each row."),),
        icon="file-input",
        example='flights: {type: file, path: "data/flights*.csv", null_values: [NA], execution: item}',
    )
    path: str = param(
        help="File, or a pattern with * ? [] and **; relative to the folder of the workflow file.", min_length=1
    )
    format: Literal["jsonl", "csv", "avro", "parquet"] | None = param(
        default=None, help="Encoding. Left out: by the end of the name; .gz may follow .jsonl and .csv."
    )
    schema: SchemaRef | None = param(default=None, help="Schema of the items; columns are matched by name.")
    key: Expression | None = param(default=None, help="Key of each item.")
    time: Expression | None = param(
        default=None, help="Event time: a timestamp, a date, or a long of ms since 1970. Left out: the time of reading."
    )
    disorder_ms: int = param(
        default=0,
        ge=0,
        le=TIME_MS_MAX,
        help="How far behind the latest event time so far an item may come and not be late. What waits for event time "
        "waits that much longer.",
    )
    pace: float | None = param(
        default=None,
        ge=0.001,
        help="Seconds of event time to read in each second: 1 is the pace of the data. Left out: as fast as possible.",
    )
    null_values: tuple[str, ...] = param(default=(), help="Cells of CSV that mean null, besides empty ones.")
    header: bool = param(default=True, help="Whether the first line of CSV holds the column titles.")
    execution: Literal["file", "item"] = param(
        default="file", help="What is one execution: a whole file (sort, aggregate and merges act on it), or each item."
    )

    def trigger_extent(self) -> Extent:
        return self.execution

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        schema = self._schema(ctx)
        if schema is None:
            return {}
        if self.key is not None:
            report_key(ctx, trigger_type(ctx, schema, self.key, param="key"), self.key, param="key")
        if self.time is not None:
            kind = trigger_type(ctx, schema, self.time, param="time")
            if kind.kind not in TIME_KINDS:
                ctx.report(
                    WRONG_TYPE,
                    f"event time is a timestamp, a date, or a long of ms since 1970; `{self.time.text}` is {kind}.",
                    param="time",
                )
        if self.pace is not None and self.time is None:
            ctx.report(CONTRADICTION, "a pace needs to know the event time.", param="pace", mend="Set time.")
        return {"out": schema}

    def source(self, ctx: BuildContext) -> Source:
        schema = ctx.outputs["out"]
        expressions = {n: e for n, e in (("key", self.key), ("time", self.time)) if e is not None}
        return FileSource(
            FileReads(
                path=self.path,
                base_folder=ctx.base_folder,
                schema=schema,
                format=self.format,
                null_values=self.null_values,
                header=self.header,
                per_file=self.execution == "file",
                projection=_projection(expressions, Scope(item=schema, vars=ctx.vars)),
                labels={n: label(n, e) for n, e in expressions.items()},
                pace=self.pace,
            )
        )

    def _schema(self, ctx: SchemaContext) -> Schema | None:
        try:
            files = files_of(self.path, base_folder(ctx))
            kind = kind_of(files[0] if files else self.path, self.format)
            if self.schema is None:
                return self._inferred(ctx, [str(f) for f in files])
        except (StreamflowError, OSError, ValueError) as error:
            ctx.report(UNREADABLE, f"{self.path!r} cannot be read: {error}", param="path")
            return None
        schema = ctx.schema(self.schema, param="schema")
        if schema is None or kind.format == "jsonl":
            return schema
        if schema.kind != "record":
            ctx.report(WRONG_TYPE, f"rows of {kind.format} are records; the schema is {schema}.", param="schema")
            return None
        odd = [f for f in schema.fields if f.type.kind not in CSV_KINDS] if kind.format == "csv" else []
        for field in odd:
            ctx.report(WRONG_TYPE, f"a cell of CSV cannot hold {field.name!r}, which is {field.type}.", param="schema")
        return None if odd else schema

    def _inferred(self, ctx: SchemaContext, files: list[str]) -> Schema | None:
        if not files:
            ctx.report(
                UNREADABLE,
                f"no file at {self.path!r} to infer the schema from.",
                param="path",
                mend=f"Paths start at {base_folder(ctx)}; or give a schema.",
            )
            return None
        return infer_schema(
            files_of(self.path, base_folder(ctx))[0],
            kind_of(files[0], self.format),
            null_values=self.null_values,
            header=self.header,
        )


def _projection(expressions: Mapping[str, Expression], scope: Scope) -> Projection | None:
    """Key and time over the rows that are read; they were checked when the workflow was compiled."""
    if not expressions:
        return None
    projection, findings = compile_projection(expressions, scope)
    if projection is None:
        raise UsageError(f"the plan holds an expression that does not compile: {findings[0]}", mend="Compile it again.")
    return projection
