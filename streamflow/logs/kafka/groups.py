"""Committed positions of groups, outside of transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from streamflow.logs.kafka.cluster import GROUP, Cluster, by_topic, by_topic_with
from streamflow.logs.kafka.codes import Code
from streamflow.logs.kafka.wire import (
    DescribeGroupsRequest,
    ListGroupsRequest,
    OffsetCommitRequest,
    OffsetDeleteRequest,
    StableOffsetsRequest,
)
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogError, UsageError

_METADATA_BYTES_MAX = 4096  # the broker's own default limit


class Groups:
    """Groups of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Stable positions: while a transaction holds one of them, wait for its outcome."""
        if not partitions:
            return {}
        return await self._fetch(group, by_topic(partitions), stable=True)

    async def all(self) -> dict[str, dict[TopicPartition, Committed]]:
        wire = self._cluster.wire

        async def names() -> set[str]:
            found: set[str] = set()
            for answer in await asyncio.gather(*(wire.call(node, ListGroupsRequest()) for node in wire.nodes())):
                self._cluster.check("list groups", answer.error_code)
                found.update(group for group, _ in answer.groups)
            return found

        out = {}
        for group in sorted(await self._cluster.repeat("list groups", names)):
            if offsets := await self._fetch(group, None, stable=False):
                out[group] = offsets
        return out

    async def members(self, group: str) -> list[str]:
        """Ids of the members that are at work in a group, each with its host."""
        what = f"describe group {group!r}"

        async def once() -> list[str]:
            answer = await self._cluster.call_coordinator(GROUP, group, DescribeGroupsRequest([group]))
            found = []
            for row in answer.groups:
                if row[0] != Code.GROUP_ID_NOT_FOUND:
                    self._cluster.check(what, row[0], coordinator=(GROUP, group))
                found += [f"{member[0]} at {member[2].lstrip('/')}" for member in row[5]]
            return found

        return await self._cluster.repeat(what, once)

    async def set(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        check_offsets(group, offsets)
        kept = {at: (c.offset, c.metadata) for at, c in offsets.items() if c is not None}
        forgotten = [at for at, c in offsets.items() if c is None]
        for at in offsets:
            # A group coordinator takes offsets of topics that do not exist.
            await self._cluster.repeat(f"find {at}", lambda at=at: self._cluster.leader_of(at))  # type: ignore[misc]
        if kept:
            await self._commit(group, kept)
        if forgotten:
            await self.forget(group, forgotten)

    async def forget(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Let a group forget positions; harmless when it has none."""
        what = f"forget offsets of group {group!r}"
        request = OffsetDeleteRequest(group, by_topic(list(partitions)))

        async def once() -> None:
            answer = await self._cluster.call_coordinator(GROUP, group, request)
            if answer.error_code == Code.GROUP_ID_NOT_FOUND:
                return
            self._check_idle(group, answer.error_code)
            self._cluster.check(what, answer.error_code, coordinator=(GROUP, group))
            for _, rows in answer.topics:
                for _, code in rows:
                    self._check_idle(group, code)
                    if code != Code.UNKNOWN_TOPIC_OR_PARTITION:
                        self._cluster.check(what, code, coordinator=(GROUP, group))

        await self._cluster.repeat(what, once)

    async def _commit(self, group: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        what = f"commit offsets of group {group!r}"
        request = OffsetCommitRequest(group, -1, "", -1, by_topic_with(offsets))  # no member, retained as usual

        async def once() -> None:
            answer = await self._cluster.call_coordinator(GROUP, group, request)
            for topic, rows in answer.topics:
                for _, code in rows:
                    self._check_idle(group, code)
                    self._cluster.check(what, code, at=topic, coordinator=(GROUP, group))

        await self._cluster.repeat(what, once)

    def _check_idle(self, group: str, code: int) -> None:
        if code in (Code.UNKNOWN_MEMBER_ID, Code.NON_EMPTY_GROUP, Code.GROUP_SUBSCRIBED_TO_TOPIC):
            raise LogError(f"group {group!r} is at work.", mend="Stop its workers first.")

    async def _fetch(
        self, group: str, topics: list[tuple[str, list[int]]] | None, *, stable: bool
    ) -> dict[TopicPartition, Committed]:
        what = f"committed offsets of group {group!r}"
        request = StableOffsetsRequest(group, topics, stable=stable)

        async def once() -> dict[TopicPartition, Committed]:
            answer = await self._cluster.call_coordinator(GROUP, group, request)
            self._cluster.check(what, answer.error_code, coordinator=(GROUP, group))
            found = {}
            for topic, rows, _ in answer.topics:
                for number, offset, _, metadata, code, _ in rows:
                    at = TopicPartition(topic, number)
                    if code == Code.UNKNOWN_TOPIC_OR_PARTITION:
                        continue
                    self._cluster.check(what, code, at=topic, coordinator=(GROUP, group))
                    if offset >= 0:
                        found[at] = Committed(offset, metadata or "")
            return found

        return await self._cluster.repeat(what, once)


def check_offsets(group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
    """Raises UsageError for a group name or position that no broker would keep."""
    if not group:
        raise UsageError("the name of a group is empty.", mend="Name it after the workflow and its stage.")
    for at, committed in offsets.items():
        if committed is None:
            continue
        if not 0 <= committed.offset < 1 << 63:
            raise UsageError(f"{at}: offset {committed.offset} cannot be committed.", mend="Offsets begin with 0.")
        size = len(committed.metadata.encode(errors="replace"))
        if size > _METADATA_BYTES_MAX:
            raise UsageError(
                f"{at}: the note with the committed offset has {size} bytes.",
                mend=f"Keep it to {_METADATA_BYTES_MAX} bytes.",
            )
