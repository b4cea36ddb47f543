"""Topics on Kafka: create, delete, list, compare settings, let records go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from streamflow.logs.kafka.cluster import Again, Cluster, refused, unknown_topic
from streamflow.logs.kafka.codes import Code, name_of
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.wire import (
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    TopicsRequest,
    listed_topics,
)
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange, TopicExists
from streamflow.sdk.log import TopicInfo, TopicSpec

_REPLICAS_MAX: Final = 3
_FENCED_S_MAX: Final = 20.0
_TOPIC: Final = 2  # a kind of resource, in DescribeConfigs
# What `topics` shows. Kafka has dozens more, and a cluster may have thousands of topics.
SHOWN: Final = (
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
)


class Topics:
    """Topics of one cluster."""

    def __init__(self, cluster: Cluster, *, timeout_ms: int, replication_factor: int | None) -> None:
        self._cluster, self._timeout_ms, self._replication_factor = cluster, timeout_ms, replication_factor

    async def create(self, spec: TopicSpec) -> TopicInfo:
        wire = self._cluster.wire
        tried, fenced_since_s = False, 0.0

        async def once() -> None:
            nonlocal tried, fenced_since_s
            replicas = self._replication_factor or max(1, min(_REPLICAS_MAX, len(wire.nodes())))
            config = [(str(k), str(v)) for k, v in spec.config.items()]
            request = CreateTopicsRequest([(spec.name, spec.partitions, replicas, [], config)], self._timeout_ms, False)
            try:
                answer = await wire.call(wire.controller(), request)
            except Unanswered:
                tried = True
                raise
            ((_, code, detail),) = answer.topic_errors
            if code == Code.TOPIC_ALREADY_EXISTS:
                if tried:
                    return  # made by our own request that had no answer
                raise TopicExists(f"topic {spec.name!r} exists.", mend="Use it, or delete it first.")
            if code == Code.REQUEST_TIMED_OUT:
                tried = True
            if code == Code.NOT_CONTROLLER:
                wire.stale()
            if code in (Code.NONE, Code.REQUEST_TIMED_OUT, Code.NOT_CONTROLLER, Code.THROTTLING_QUOTA_EXCEEDED):
                self._cluster.check(f"create topic {spec.name!r}", code)
                return
            if code == Code.INVALID_REPLICATION_FACTOR and "fenced" in (detail or "").lower():
                # Brokers that have just started are fenced until the controller has heard of them again.
                fenced_since_s = fenced_since_s or time.monotonic()
                if time.monotonic() - fenced_since_s < _FENCED_S_MAX:
                    raise Again(f"create topic {spec.name!r}: {detail}")
            raise refused(f"create topic {spec.name!r}", code, detail)

        async def led() -> TopicInfo:
            found = (await self._listed([spec.name])).get(spec.name)
            if found is None or not await wire.refresh():
                raise Again(f"topic {spec.name!r} is not known everywhere")
            leaders = [wire.leader(TopicPartition(spec.name, n)) for n in range(spec.partitions)]
            if any(leader is None or leader < 0 for leader in leaders):
                raise Again(f"topic {spec.name!r} has partitions without a leader")
            return found

        await self._cluster.repeat(f"create topic {spec.name!r}", once)
        return await self._cluster.repeat(f"wait for topic {spec.name!r}", led)

    async def delete(self, name: str) -> None:
        wire = self._cluster.wire

        async def once() -> None:
            answer = await wire.call(wire.controller(), DeleteTopicsRequest([name], self._timeout_ms))
            ((_, code),) = answer.topic_error_codes
            if code == Code.NOT_CONTROLLER:
                wire.stale()
            self._cluster.check(f"delete topic {name!r}", code, at=name)

        await self._cluster.repeat(f"delete topic {name!r}", once)
        await wire.refresh()

    async def all(self) -> Mapping[str, TopicInfo]:
        """All topics but Kafka's own."""
        return await self._cluster.repeat("list topics", lambda: self._listed(None))

    async def config_of(self, name: str) -> Mapping[str, str]:
        """Every setting of one topic."""
        found = await self._cluster.repeat(f"settings of {name!r}", lambda: self._configs([name], None))
        if name not in found:
            raise unknown_topic(name)
        return found[name]

    async def differences(self, spec: TopicSpec) -> Mapping[str, tuple[str, str | None]]:
        """Settings of an existing topic that are not as `spec` wants them: name -> (wanted, found)."""
        found = await self.config_of(spec.name)
        return {k: (v, found.get(k)) for k, v in spec.config.items() if not _same(k, str(v), found.get(k))}

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        async def once() -> None:
            request = DeleteRecordsRequest([(at.topic, [(at.partition, before)])], self._timeout_ms)
            answer = await self._cluster.call_leader(at, request)
            code = answer.topics[0][1][0][2]
            if code == Code.OFFSET_OUT_OF_RANGE:
                raise OffsetOutOfRange(
                    f"{at}: offset {before} lies behind the end of the partition.",
                    mend="Give an offset that `streamflow topics` shows.",
                )
            self._cluster.check(f"delete records of {at}", code, at=at)

        await self._cluster.repeat(f"delete records of {at}", once)

    async def _listed(self, names: list[str] | None) -> dict[str, TopicInfo]:
        wire = self._cluster.wire
        answer = await wire.call(wire.any_node(), TopicsRequest(names))
        found: dict[str, tuple[int, str]] = {}
        for error, name, incarnation, internal, partitions in listed_topics(answer):
            if error == Code.NONE and not internal:
                found[name] = (partitions, incarnation)
            elif error not in (Code.NONE, Code.UNKNOWN_TOPIC_OR_PARTITION, Code.TOPIC_AUTHORIZATION_FAILED):
                raise Again(f"topic {name!r}: {name_of(error)}")
        configs = await self._configs(list(found), list(SHOWN)) if found else {}
        return {
            name: TopicInfo(name=name, partitions=count, incarnation=incarnation, config=configs.get(name, {}))
            for name, (count, incarnation) in found.items()
        }

    async def _configs(self, names: list[str], settings: list[str] | None) -> dict[str, dict[str, str]]:
        """Settings by topic. Topics that this user may not describe, or that went meanwhile, are absent."""
        wire = self._cluster.wire
        request = DescribeConfigsRequest([(_TOPIC, name, settings) for name in names])
        answer: Any = await wire.call(wire.any_node(), request)
        out: dict[str, dict[str, str]] = {}
        for error, _, _, name, entries in answer.resources:
            if error == Code.NONE:
                out[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
        return out


def _same(name: str, wanted: str, found: str | None) -> bool:
    if name == "cleanup.policy" and found is not None:
        return set(wanted.replace(" ", "").split(",")) == set(found.split(","))
    return wanted == found
