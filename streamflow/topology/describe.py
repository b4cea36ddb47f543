"""A plan as text: what runs, what is read and written, and why each topic exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streamflow.codecs import CodecSpec
from streamflow.model.policies import ErrorPolicy, RetryPolicy
from streamflow.model.types import Schema
from streamflow.topology.digest import digest
from streamflow.topology.plan import InputPlan, NodePlan, SinkPlan, StagePlan, TablePlan, TopicPlan, Topology

_WRAP = 116


def describe(topology: Topology) -> str:
    """Text for people, stable enough to be compared as a golden file."""
    lines: list[str] = []
    lines += _heading(topology)
    names = _SchemaNames()
    for stage in topology.stages:
        lines += ["", *_stage(topology, stage, names)]
    lines += ["", "topics", *_topics(topology.topics)]
    lines += ["", "schemas", *names.listing()]
    return "\n".join(lines) + "\n"


def _heading(topology: Topology) -> Iterator[str]:
    run = topology.run
    yield f"workflow {topology.workflow}"
    yield f"  plan {digest(topology)}"
    yield f"  {run.guarantee}, a commit every {run.commit_interval_ms} ms"
    if topology.vars:
        yield f"  vars: {', '.join(sorted(topology.vars))}"


class _SchemaNames:
    """Short names for schemas, so that each is written out once."""

    def __init__(self) -> None:
        self._known: list[tuple[Schema, str]] = []

    def of(self, schema: Schema) -> str:
        if schema.kind != "record":
            return str(schema)
        if (name := next((n for s, n in self._known if s == schema), None)) is None:
            stem = schema.name or "Item"
            name = stem
            number = 1
            while any(n == name for _, n in self._known):
                number += 1
                name = f"{stem}~{number}"
            self._known.append((schema, name))
        return name

    def listing(self) -> Iterator[str]:
        if not self._known:
            yield "  none: all items are untyped"
        for schema, name in self._known:
            yield f"  {name}"
            yield from _wrapped((f"{f.name}: {f.type}" for f in schema.fields), "    ", "    ")


def _stage(topology: Topology, stage: StagePlan, names: _SchemaNames) -> Iterator[str]:
    yield f"stage {stage.id}   (group {stage.group(topology.workflow)})"
    for entry in stage.inputs:
        yield from _input(entry, names)
    if stage.together:
        yield f"  takes  {' and '.join(stage.together)} by key where they lie: they need equally many partitions"
    for table in stage.tables:
        yield from _table(table, names)
    if stage.needs:
        yield f"  makes  {' '.join(stage.needs)}"
    width = max((len(n.id) for n in stage.nodes), default=0)
    kinds = max((len(n.kind) for n in stage.nodes), default=0)
    for node in stage.nodes:
        yield from _node(node, width, kinds, names)
    for sink in stage.sinks:
        yield from _sink(sink)
    for feed in stage.feeds:
        yield f"  tells  {feed.topic} how many rows of each execution are still on their way"
    for store in stage.stores:
        yield f"  store  {store.name} of {store.node}, changelog {store.changelog}"
    yield f"  keeps  {', '.join(n for n in (stage.ledger, stage.journal) if n)}; failed items to {stage.dead_letter}"
    if stage.again:
        yield f"  takes  items again from {stage.again}"


def _input(entry: InputPlan, names: _SchemaNames) -> Iterator[str]:
    if entry.source:
        yield f"  runs   {entry.node}, a source, in one task"
    else:
        codec = f", {_codec(entry.codec)}" if entry.codec else ""
        start = f", from the {entry.start} record" if not entry.internal else ""
        yield f"  reads  {entry.topic}{codec}{start}, as {entry.node}"
    details = [f"items {names.of(entry.schema)}", f"an execution is one {entry.extent}"]
    if entry.key:
        details.append(f"key `{entry.key}`")
    if entry.time:
        details.append(f"event time `{entry.time}`")
    if entry.by_clock:
        details.append("event time by the clock")
    if entry.disorder_ms:
        details.append(f"up to {entry.disorder_ms} ms out of order")
    if entry.idle_after_ms is not None:
        details.append(f"time does not wait for it after {entry.idle_after_ms} ms without records")
    yield f"         {'; '.join(details)}"
    if entry.envelope:
        yield from _wrapped((e.column for e in entry.envelope), "         with ", "         ")
    if entry.keep:
        yield f"         keeps {', '.join(entry.keep)}"


def _table(table: TablePlan, names: _SchemaNames) -> Iterator[str]:
    codec = f", {_codec(table.input.codec)}" if table.input.codec else ""
    yield f"  copies {table.input.topic}{codec}, all partitions, into each task, as {table.node.id}"
    yield f"         rows {names.of(table.input.schema)}; key `{table.node.params['key']}`"


def _node(node: NodePlan, width: int, kinds: int, names: _SchemaNames) -> Iterator[str]:
    fed = "; ".join(
        ("" if port == "in" and len(node.wires) == 1 else f"{port}: ")
        + ", ".join(w.node if w.port == "out" else f"{w.node}.{w.port}" for w in wires)
        for port, wires in node.wires.items()
    )
    fed += f"; looks into {node.table}" if node.table else ""
    yield f"  node   {node.id:<{width}}  {node.kind:<{kinds}}{'  <- ' + fed if fed else ''}".rstrip()
    outputs = {p: names.of(s) for p, s in node.outputs.items()}
    made = _ports(outputs)
    notes = [made] if made else []
    if (policy := _policy(node.errors)) and node.wires:
        notes.append(policy)
    if node.keep:
        notes.append(f"keeps {', '.join(node.keep)}")
    if notes:
        yield f"         {'; '.join(notes)}"


def _ports(outputs: Mapping[str, str]) -> str:
    """Ports by the schema they give, such as `true, false: shop.Order`."""
    by_schema: dict[str, list[str]] = {}
    for port, schema in outputs.items():
        by_schema.setdefault(schema, []).append(port)
    return "; ".join(f"{', '.join(ports)}: {schema}" for schema, ports in by_schema.items())


def _policy(errors: ErrorPolicy) -> str:
    words = {
        "dead_letter": "",
        "errors": "",
        "stop": "stops on errors",
        "continue": "goes on after errors",
        "error_port": "errors leave",
        "compensate": "errors are compensated",
        "pass": "passes on what fails",
    }
    parts = [words[errors.on_error]] if words[errors.on_error] else []
    if errors.fallback:
        parts = [f"errors go to {errors.fallback}"]
    if errors.value is not None:
        parts = [f"{', '.join(errors.value) or 'the item'} in the place of what fails"]
    if errors.breaker is not None:
        parts.append(
            f"not tried for {errors.breaker.probe_after_ms} ms after {errors.breaker.failures} failures in "
            f"{errors.breaker.within_ms} ms"
        )
    if errors.retry.attempts > 1:
        parts.append(_retry(errors.retry))
    return ", ".join(parts)


def _retry(retry: RetryPolicy) -> str:
    how = {
        "fixed": f"{retry.delay_ms} ms apart",
        "linear": f"{retry.delay_ms} ms apart and more each time",
        "exponential": f"{retry.delay_ms} ms apart and twice as long each time",
        "random": f"{retry.delay_ms} to {retry.delay_max_ms} ms apart",
    }[retry.backoff]
    aside = {"park": ", its key waits meanwhile", "delay": ", its key goes on meanwhile"}
    return f"{retry.attempts} attempts, {how}{aside.get(retry.mode, '')}"


def _sink(sink: SinkPlan) -> Iterator[str]:
    told = {"source": "keeps the partition", "single": "one partition"}
    how = told.get(sink.partition_by, f"partition by {sink.partition_by.replace('_', ' ')}")
    how += ", and watermarks" if sink.watermarks else ""
    yield f"  writes {sink.topic}, {_codec(sink.codec)}, from {sink.wire.node}, {how}"
    if sink.envelope:
        yield from _wrapped((e.column for e in sink.envelope), "         with ", "         ")


def _codec(codec: CodecSpec) -> str:
    return codec.format if codec.format != "avro" else f"avro ({codec.framing})"


def _topics(topics: Sequence[TopicPlan]) -> Iterator[str]:
    for topic in topics:
        count = "" if topic.partitions is None else f", {topic.partitions} partition{'s' * (topic.partitions != 1)}"
        yield f"  {topic.name}   ({topic.kind.replace('_', ' ')}, {_codec(topic.codec)}{count})"
        yield f"    {topic.why}"
        if settings := _settings(topic.config):
            yield f"    {settings}"


def _settings(config: Mapping[str, str]) -> str:
    """Settings worth reading: every topic of ours has those about timestamps."""
    told = {k: v for k, v in config.items() if not k.startswith("message.timestamp.")}
    if told == {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}:
        return "kept until deleted"
    return ", ".join(f"{k}={v}" for k, v in sorted(told.items()))


def _wrapped(parts: Iterator[str], first: str, indent: str) -> Iterator[str]:
    line, begun = first, False
    for part in parts:
        if begun and len(line) + len(part) + 2 > _WRAP:
            yield line.rstrip()
            line = indent
        line, begun = f"{line}{part}, ", True
    if line.strip():
        yield line.rstrip().removesuffix(",")
