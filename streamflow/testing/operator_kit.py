"""Run one node by itself: no workflow, no log. For authors of nodes, and for our own tests of theirs.

`run_node` checks the schemas a node declares, builds its operator and feeds it. The stream can be cut into steps at any
rows and steps can be aborted and replayed: a correct operator gives the same rows every time.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import polars as pl

from streamflow.expressions import compile_projection, parse_template, typecheck
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, EXECUTION, KEY, PATH, RESERVED, ROW, TS, Batch
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, PAYLOAD, Schema, Type, frame_schema
from streamflow.nodes import registry
from streamflow.runtime.late_calls import CallLog
from streamflow.runtime.timed_calls import TimedCalls
from streamflow.sdk.expression import Expression, Projection, Scope
from streamflow.sdk.node import FunctionRef, Node, SchemaRef, Schemas, Template
from streamflow.sdk.operator import NO_ROW, Commits, EndsExecutions, Operator, Result
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.places import Diagnostic, Place

Item = Mapping[str, Any]


class FakeStore:
    """A state store in memory with the overlay of one transaction."""

    def __init__(self) -> None:
        self.base: dict[bytes, bytes] = {}
        self.overlay: dict[bytes, bytes | None] = {}
        self.generation = 0

    def get(self, key: bytes) -> bytes | None:
        return self.overlay[key] if key in self.overlay else self.base.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(k) for k in keys]

    def put(self, key: bytes, value: bytes) -> None:
        self.overlay[bytes(key)] = bytes(value)

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            self.put(key, value)

    def delete(self, key: bytes) -> None:
        self.overlay[bytes(key)] = None

    def delete_many(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.delete(key)

    def scan(self, first: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        merged = {k: v for k, v in {**self.base, **self.overlay}.items() if v is not None}
        keys = sorted(merged)
        for key in keys[bisect.bisect_left(keys, first) :]:
            if end is not None and key >= end:
                return
            yield key, merged[key]

    def commit(self) -> None:
        for key, value in self.overlay.items():
            if value is None:
                self.base.pop(key, None)
            else:
                self.base[key] = value
        self.overlay = {}

    def abort(self) -> None:
        self.overlay = {}
        self.generation += 1


@dataclass(slots=True, kw_only=True)
class KitContext:
    """`sdk.operator.Context` with fixed answers."""

    workflow: str = "workflow"
    node: str = "node"
    stage: str = "stage"
    partition: int = 0
    now_ms: int = 1_700_000_000_000
    watermark_ms: int = 0
    stores: dict[str, FakeStore] = field(default_factory=dict)

    def store(self, name: str) -> FakeStore:
        return self.stores.setdefault(name, FakeStore())

    def random(self, execution: str, path: bytes = b"") -> np.random.Generator:
        seed = hashlib.blake2b(f"{execution}\0{self.node}\0".encode() + path, digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(seed, "big"))


@dataclass(slots=True, kw_only=True)
class KitBuild:
    """Both contexts of a node, `SchemaContext` and `BuildContext`, over given inputs."""

    inputs: Schemas
    outputs: Schemas = field(default_factory=dict)
    extent: Extent = "item"
    workflow: str = "workflow"
    node_id: str = "node"
    vars: Mapping[str, object] = field(default_factory=dict)
    nodes: Schemas = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    base_folder: str = "."
    partition: int = 0
    wired: frozenset[str] = frozenset()
    target_partitions: int = 0
    live: bool = False
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def remembered(self) -> Schemas:
        return {}

    @property
    def kept(self) -> Schemas:
        return self.nodes

    def output_path(self, path: str) -> Path:
        return Path(self.base_folder, path)

    def scope(self, port: str) -> Scope:
        return Scope(item=self.inputs[port], nodes=self.nodes, vars=self.vars)

    def typeof(
        self,
        expression: Expression,
        *,
        param: str,
        port: str = "in",
        expect: Type | None = None,
        round: Schema | None = None,
    ) -> Type:
        found, findings = typecheck(expression, self._within(self.scope(port), round), expect=expect)
        self.findings.extend(findings)
        return found

    def _within(self, scope: Scope, round: Schema | None) -> Scope:
        return scope if round is None else replace(scope, loops={self.node_id: round, **scope.loops})

    def template(self, template: Template) -> Expression:
        return parse_template(template.text, template.place)

    def schema(self, ref: SchemaRef, *, param: str = "") -> Schema:
        return self.schemas[ref]

    def function(self, ref: FunctionRef, *, param: str = "") -> Callable[..., Any]:
        return self.functions[ref.ref]

    def timed(self, function: Callable[..., Any], timeout_ms: int | None) -> Callable[..., Any]:
        return function if timeout_ms is None else TimedCalls(self.node_id, function, timeout_ms, CallLog())

    def report(
        self,
        code: str,
        message: str,
        *,
        param: str = "",
        mend: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        self.findings.append(Diagnostic(place=Place(), code=code, message=message, mend=mend, severity=severity))

    def projection(
        self,
        expressions: Mapping[str, Expression],
        *,
        port: str = "in",
        expect: Mapping[str, Type] | None = None,
        round: Schema | None = None,
    ) -> Projection:
        scope = self._within(self.scope(port), round)
        projection, findings = compile_projection(expressions, scope, expect=expect)
        assert projection is not None, findings
        return projection


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One row that arrives at a port."""

    item: Any
    port: str = "in"
    execution: str = ""
    key: bytes | None = None
    ts: int = 0
    path: bytes = b""


@dataclass(slots=True, kw_only=True)
class Ran:
    """What came out. Frames have the payload and reserved columns; `@row` is the index of the arrival (or NO_ROW)."""

    outputs: dict[str, pl.DataFrame] = field(default_factory=dict)
    schemas: Schemas = field(default_factory=dict)
    failed: list[tuple[Any, str, str]] = field(default_factory=list)  # item, code, message
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    stores: dict[str, FakeStore] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    def items(self, port: str = "out") -> list[Any]:
        """Items of a port as Python values."""
        if port not in self.outputs:
            return []
        return items_of(Batch(self.outputs[port], self.schemas[port]))


class NodeRefusedError(AssertionError):
    """The node reported errors for its parameters; they are its text."""


def make_node(kind: str, /, **params: object) -> Node:
    """A node of a built-in kind from parameters as a document has them. Raises NodeRefusedError."""
    found = registry().get(kind)
    if found is None:
        raise NodeRefusedError(f"no node kind {kind!r}")
    node, findings = build(found, RawParams(values=params))
    if node is None:
        raise NodeRefusedError("\n".join(map(str, findings)))
    return node


def items_of(batch: Batch) -> list[Any]:
    """Items of a batch as Python values: dicts, or what their JSON texts mean."""
    payload = batch.payload()
    if payload.columns == [PAYLOAD]:
        values = payload[PAYLOAD].to_list()
        return values if batch.schema.kind == "bytes" else [None if v is None else orjson.loads(v) for v in values]
    return payload.to_dicts()


def check_node(node: Node, inputs: Schemas, **options: Any) -> tuple[Schemas, list[Diagnostic]]:
    """Output schemas of a node over these inputs, and its findings."""
    build = KitBuild(inputs=inputs, **options)
    return node.output_schemas(build), build.findings


def run_node(
    node: Node,
    arrivals: Sequence[Any],
    *,
    schema: Schema | Mapping[str, Schema] = ANY,
    extent: Extent = "item",
    cuts: Sequence[int] = (),
    aborted: Sequence[int] = (),
    context: KitContext | None = None,
    **options: Any,
) -> Ran:
    """Run a node over rows (items for port `in`, or `Arrival`s).

    `schema`: of the items, one for all ports or by port. `cuts`: a step ends before each of these arrivals (and at the
    end of each bounded execution). `aborted`: steps (from 0) that are run, rolled back and run again by a new operator.
    `options` are those of `KitBuild`. Raises NodeRefusedError, and AssertionError where rows are not accounted for.
    """
    rows = [a if isinstance(a, Arrival) else Arrival(item=a) for a in arrivals]
    given = {p.name: schema for p in node.input_ports()} if isinstance(schema, Type) else dict(schema)
    build = KitBuild(inputs=given, extent=extent, **options)
    outputs = node.output_schemas(build)
    if errors := [f for f in build.findings if f.severity == "error"]:
        raise NodeRefusedError("\n".join(map(str, errors)))
    build.outputs = outputs
    ctx = context or KitContext()
    ran = Ran(schemas=outputs, stores=ctx.stores, findings=build.findings)
    run = _Run(operator=node.operator(build), rows=rows, schemas=given, extent=extent, ctx=ctx)
    for number, (start, stop) in enumerate(_steps(rows, extent, cuts)):
        if number in aborted:
            run.step(start, stop, Ran())
            for store in ctx.stores.values():
                store.abort()
            run.operator = node.operator(build)
            if isinstance(run.operator, Commits):
                run.operator.committed(ctx)
        run.step(start, stop, ran)
        operator = run.operator
        if isinstance(operator, Commits):
            operator.prepare(ctx)
        for store in ctx.stores.values():
            store.commit()
        if isinstance(operator, Commits):
            operator.committed(ctx)
    return ran


def frame_of(rows: Sequence[Arrival], schema: Schema, row: Sequence[int]) -> pl.DataFrame:
    """Rows as a frame of payload and reserved columns."""
    items = [a.item for a in rows]
    if schema.kind == "record":
        frame = pl.DataFrame([dict(i) for i in items], schema=frame_schema(schema))
    else:
        texts = [i if schema.kind == "bytes" or isinstance(i, bytes) else orjson.dumps(i) for i in items]
        frame = pl.Series(PAYLOAD, texts, dtype=pl.Binary).to_frame()
    reserved = {
        ROW: row,
        KEY: [a.key for a in rows],
        TS: [a.ts for a in rows],
        PATH: [a.path for a in rows],
        EXECUTION: [a.execution or f"source:{at}" for a, at in zip(rows, row, strict=True)],
    }
    return frame.with_columns(pl.Series(n, v, dtype=RESERVED[n]) for n, v in reserved.items())


def _steps(rows: Sequence[Arrival], extent: Extent, cuts: Sequence[int]) -> list[tuple[int, int]]:
    stops = {c for c in cuts if 0 < c < len(rows)} | {len(rows)}
    if extent != "item":
        last = {a.execution: at for at, a in enumerate(rows)}
        stops |= {at + 1 for at in last.values()}
    edges = [0, *sorted(stops)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


@dataclass(slots=True, kw_only=True)
class _Run:
    """An operator and the rows of its stream."""

    operator: Operator
    rows: Sequence[Arrival]
    schemas: Schemas
    extent: Extent
    ctx: KitContext

    def step(self, start: int, stop: int, ran: Ran) -> None:
        """Feed rows `start` to `stop`, then end the executions of which no more will come."""
        rows = self.rows
        inputs = {}
        for port in dict.fromkeys(a.port for a in rows[start:stop]):
            at = [i for i in range(start, stop) if rows[i].port == port]
            frame = frame_of([rows[i] for i in at], self.schemas[port], at)
            # @row counts within the step, as it does in a task.
            inputs[port] = Batch(frame.with_columns(pl.col(ROW) - pl.lit(start, pl.UInt32)), self.schemas[port])
        result = self.operator.process(inputs, self.ctx)
        check_accounting(inputs, result)
        _collect(result, start, ran)
        if self.extent == "item" or not isinstance(self.operator, EndsExecutions):
            return
        later = {a.execution for a in rows[stop:]}
        for execution in dict.fromkeys(a.execution for a in rows[start:stop]):
            if execution not in later:
                ended = self.operator.end(execution, self.ctx)
                check_accounting({}, ended, ends=True)
                _collect(ended, start, ran)


def check_accounting(inputs: Mapping[str, Batch], result: Result, *, ends: bool = False) -> None:
    """Each input row has one fate, output rows out of state are counted, and reserved columns are sound."""
    rows_in = sum(len(b) for b in inputs.values())
    parents: set[int] = set()
    from_state = 0
    for port, batch in result.outputs.items():
        expected = frame_schema(batch.schema)
        for name, dtype in expected.items():
            assert name in batch.frame.columns, f"{port}: no column {name}"
            assert batch.frame[name].dtype == dtype, f"{port}.{name}: {batch.frame[name].dtype}, declared {dtype}"
        extra = [c for c in batch.frame.columns if not c.startswith("@") and c not in expected]
        assert not extra, f"{port}: columns that are no fields: {extra}"
        for name, dtype in RESERVED.items():
            if name in batch.frame.columns:
                assert batch.frame[name].dtype == dtype, f"{port}.{name}: {batch.frame[name].dtype}"
        rows = batch.frame[ROW]
        assert rows.is_sorted(), f"{port}: not in the order of arrival"
        from_state += int((rows == NO_ROW).sum())
        parents |= set(rows.filter(rows != NO_ROW).to_list())
    failed = len(result.failed) if result.failed is not None else 0
    failed = 0 if ends else failed  # rows that fail when an execution ends were absorbed before
    accounted = len(parents) + result.filtered + failed + result.absorbed
    assert accounted == rows_in, (
        f"{rows_in} rows in; {len(parents)} forwarded + {result.filtered} filtered + {failed} failed + "
        f"{result.absorbed} absorbed"
    )
    assert from_state == result.emitted, f"{from_state} rows out of state, {result.emitted} counted"


def _collect(result: Result, start: int, ran: Ran) -> None:
    ran.schemas = {**ran.schemas, **{port: batch.schema for port, batch in result.outputs.items()}}
    for port, batch in result.outputs.items():
        rows = pl.when(pl.col(ROW) == NO_ROW).then(pl.col(ROW)).otherwise(pl.col(ROW) + start).alias(ROW)
        frame = batch.frame.with_columns(rows)
        before = ran.outputs.get(port)
        ran.outputs[port] = frame if before is None else pl.concat([before, frame], how="diagonal")
    ran.filtered += result.filtered
    ran.absorbed += result.absorbed
    ran.emitted += result.emitted
    if result.failed is not None:
        frame = result.failed.frame
        ran.failed += list(
            zip(items_of(result.failed), frame[ERROR_CODE].to_list(), frame[ERROR_MESSAGE].to_list(), strict=True)
        )
