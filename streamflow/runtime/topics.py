"""Topics of a topology on a log: how many partitions each has, and creating what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import orjson

from streamflow.codecs import SchemaRegistry
from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.sdk.errors import LogError, LogUnavailable, TopicExists
from streamflow.sdk.log import Log, TopicInfo, TopicSpec
from streamflow.topology.plan import StagePlan, TopicPlan, Topology

_SHOWN_AFTER_S_MAX, _LOOK_AGAIN_S = 30.0, 0.1


class TopicMismatch(LogError):
    """Topics exist with other numbers of partitions, or other settings, than the topology needs."""

    code = "SF509"


def stage_width(stage: StagePlan, partitions: Mapping[str, int]) -> int:
    """Tasks of a stage: the partitions of its widest input; a source has one."""
    return max((partitions[i.topic] for i in stage.inputs if i.topic), default=1)


def task_count(topology: Topology, topics: Mapping[str, TopicInfo]) -> int:
    """Tasks of the whole topology."""
    partitions = {name: info.partitions for name, info in topics.items()}
    return sum(stage_width(stage, partitions) for stage in topology.stages)


def resolve_partitions(topology: Topology, existing: Mapping[str, int]) -> dict[str, int]:
    """Partition count of every topic: what exists, what the plan says, or what its stage needs."""
    counts: dict[str, int] = {}
    for topic in topology.topics:
        if topic.name in existing:
            counts[topic.name] = existing[topic.name]
        elif topic.partitions is not None:
            counts[topic.name] = topic.partitions
        elif topic.kind in ("trigger", "dead_letter", "errors"):
            counts[topic.name] = 1
        elif topic.kind == "source":
            counts[topic.name] = topology.partitions_default
    fixed = set(counts)
    for stage in topology.stages:  # in order of flow: inputs of a stage are known before its outputs
        counts |= _level(stage, counts, fixed)
        # Rows come back to the task of a loop that they entered in: as many as the other inputs make.
        come_back = [i.topic for i in stage.inputs if i.back]
        width = stage_width(stage, {**dict.fromkeys(come_back, 0), **counts})
        for name in come_back:
            counts.setdefault(name, width)
        own = {stage.ledger, stage.journal, *(s.changelog for s in stage.stores)}
        for name in (*(s.topic for s in stage.sinks), *sorted(own)):
            if name:
                counts.setdefault(name, width)
    # Each task reads the partition of its number.
    widest = max((stage_width(stage, counts) for stage in topology.stages if stage.again), default=1)
    for topic in topology.topics:
        counts.setdefault(topic.name, widest if topic.kind == "again" else 1)
    return counts


def _level(stage: StagePlan, counts: Mapping[str, int], fixed: Collection[str]) -> Mapping[str, int]:
    """Repartition topics that a stage reads together have equally many partitions, or what meets by key would not."""
    own = [i.topic for i in stage.inputs if i.internal and i.topic in counts]
    said = [counts[name] for name in own if name in fixed]
    width = max(said or [counts[name] for name in own], default=1)
    return {name: width for name in own if name not in fixed}


async def ensure_topics(topology: Topology, log: Log) -> Mapping[str, TopicInfo]:
    """Create what is missing and return all topics. Raises TopicMismatch where some do not fit."""
    existing = await log.topics()
    counts = resolve_partitions(topology, {n: t.partitions for n, t in existing.items()})
    for stage in topology.stages:
        _check_together(stage, counts)
        _check_aside(stage, counts, topology.workflow)
    for topic in topology.topics:
        if topic.name not in existing:
            await _create(log, topic, counts[topic.name])
    for stage in topology.stages:
        width = stage_width(stage, counts)
        for name in (stage.ledger, stage.journal, *(s.changelog for s in stage.stores)):
            if name and counts[name] != width:
                raise TopicMismatch(
                    f"topic {name!r} has {counts[name]} partitions, but stage {stage.id!r} has {width} tasks now.",
                    mend=f"The input was re-created with another count: `streamflow reset` {topology.workflow!r}.",
                )
    topics = await _all_topics(topology, log)
    _check_settings(topology, topics)
    return topics


def _check_together(stage: StagePlan, counts: Mapping[str, int]) -> None:
    """Topics that meet where their producers put them have equally many partitions, or equal keys would lie apart."""
    if len({counts[name] for name in stage.together}) > 1:
        told = " and ".join(f"{name!r} has {counts[name]}" for name in stage.together)
        raise TopicMismatch(
            f"stage {stage.id!r} takes topics by key where they lie, as these are said to be partitioned alike; "
            f"they differ in their numbers of partitions: {told}.",
            mend="Leave out `partitioner` on their triggers: then rows that meet by key are repartitioned.",
        )


def _check_aside(stage: StagePlan, counts: Mapping[str, int], workflow: str) -> None:
    """A task that hears of executions hears of all of them."""
    for read in stage.inputs:
        if read.aside and counts[read.topic] != 1:
            raise TopicMismatch(
                f"topic {read.topic!r} has {counts[read.topic]} partitions, and stage {stage.id!r} has to hear of all "
                "executions: it needs one.",
                mend=f"It was there before the slots: run to the end without, then `streamflow reset` {workflow!r}.",
            )


async def _all_topics(topology: Topology, log: Log) -> Mapping[str, TopicInfo]:
    """All topics of the log, once it shows those of the topology: what another worker creates takes a moment."""
    wanted, waited_s = {topic.name for topic in topology.topics}, 0.0
    while missing := wanted - (topics := await log.topics()).keys():
        if waited_s >= _SHOWN_AFTER_S_MAX:
            raise LogUnavailable(
                f"{log.address} was asked for topic {min(missing)!r}, and does not show it after {waited_s:.0f} s.",
                mend="Look at the brokers; then start again.",
            )
        await asyncio.sleep(_LOOK_AGAIN_S)
        waited_s += _LOOK_AGAIN_S
    return topics


# What a topic of ours must not do: lose records that a restart, or a consumer that stands still, needs.
_MUST_KEEP = {"trigger", "repartition", "changelog", "again"}


def _check_settings(topology: Topology, topics: Mapping[str, TopicInfo]) -> None:
    """Topics of ours that exist must be of the right kind. `doctor` tells of lesser differences."""
    for topic in topology.topics:
        if topic.kind in ("source", "sink"):
            continue
        kept = (
            ("cleanup.policy", "retention.ms", "retention.bytes") if topic.kind in _MUST_KEEP else ("cleanup.policy",)
        )
        found = topics[topic.name].config
        wrong = {k: found[k] for k in kept if k in topic.config and k in found and found[k] != topic.config[k]}
        if wrong:
            told = ", ".join(f"{k} is {v!r}, must be {topic.config[k]!r}" for k, v in wrong.items())
            raise TopicMismatch(
                f"topic {topic.name!r} ({topic.kind.replace('_', ' ')}) exists with other settings: {told}.",
                mend="Alter the topic, or let a run create it: it was not made by this program.",
            )


async def _create(log: Log, topic: TopicPlan, partitions: int) -> None:
    try:
        await log.create_topic(TopicSpec(name=topic.name, partitions=partitions, config=dict(topic.config)))
    except TopicExists:
        return  # somebody else was faster, which is as good


def register_schemas(topology: Topology, registry: SchemaRegistry) -> None:
    """Register what the topology writes as `<topic>-value`, so that anyone who reads a topic finds its schema.

    Raises IncompatibleSchema where a topic holds records of a schema that the new one cannot replace.
    """
    for topic in topology.topics:
        if (
            topic.kind
            in (
                "sink",
                "trigger",
                "repartition",
                "dead_letter",
                "errors",
                "executions",
                "control",
                "again",
                "checkpoints",
            )
            and topic.codec.format == "avro"
        ):
            registry.register(f"{topic.name}-value", written_schema(topic))


def written_schema(topic: TopicPlan) -> str:
    """The Avro JSON that values of a topic are written with: its owner's own text, where there is one."""
    codec = topic.codec
    avro = schema_to_avro(codec.schema, name=codec.name or codec.schema.name or "Item")
    return codec.avro or orjson.dumps(avro).decode()
