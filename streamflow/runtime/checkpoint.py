"""State that a task finds on its disk: what it must be a copy of, and whether what is missing can still be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import orjson

from streamflow.model.policies import RunPolicy
from streamflow.model.positions import TopicPartition
from streamflow.sdk.events import Logger
from streamflow.sdk.log import Log, TopicInfo
from streamflow.state.restore import restore
from streamflow.state.task_state import MemoryState, RocksState, StoreName, TaskState, folder_of
from streamflow.topology.digest import digest
from streamflow.topology.plan import StagePlan, Topology

_log = Logger(__name__)
_FORMAT = 1  # of what is on disk
_DAY_MS = 86_400_000
_TELL_AFTER_S = 5.0
_SKEW_MS_MAX = 600_000  # between clocks of machines


def make_state(
    topology: Topology, stage: StagePlan, partition: int, topics: Mapping[str, TopicInfo], folder: str
) -> TaskState:
    """The stores of a task, on disk below `folder` if there is one and the task keeps state."""
    names = [(store.node, store.name) for store in stage.stores]
    if not folder or not names:
        return MemoryState(names)
    # Whatever runs may shape what is kept, but how often it commits does not.
    plan = digest(replace(topology, run=RunPolicy()))
    changelogs = {s.changelog: topics[s.changelog].incarnation if s.changelog in topics else "" for s in stage.stores}
    bound = {"format": _FORMAT, "workflow": topology.workflow, "stage": stage.id, "partition": partition, "plan": plan,
             "changelogs": changelogs}  # fmt: skip
    binding = orjson.dumps(bound, option=orjson.OPT_SORT_KEYS)
    return RocksState(names, folder_of(Path(folder), topology.workflow, stage.id, str(partition)), binding)


async def why_useless(
    state: TaskState,
    log: Log,
    changelogs: Mapping[StoreName, TopicPartition],
    topics: Mapping[str, TopicInfo],
    now_ms: int,
) -> str:
    """Why stores that were opened cannot be brought up to date from where they are; empty if they can be."""
    for name, at in changelogs.items():
        position = state.stores[name].changelog_offset
        if not position:
            continue
        start, end = await log.offsets(at)
        if position > end or 0 < start >= position:
            return f"changelog {at} holds offsets {start} to {end}, it is at {position}"
        # A deletion goes from the changelog some time after it: a copy that missed one would bring its key back.
        info = topics.get(at.topic)
        kept_ms = int((info.config if info else {}).get("delete.retention.ms", _DAY_MS))
        if position < end and now_ms > state.as_of_ms(name) + kept_ms - _SKEW_MS_MAX:
            return f"it is older than the deletions that changelog {at} keeps for {kept_ms} ms"
    return ""


async def restore_all(
    task: str,
    state: TaskState,
    log: Log,
    changelogs: Mapping[StoreName, TopicPartition],
    tell: Callable[[int], None],
) -> int:
    """Bring all stores up to their changelogs; gives how many offsets were read for that. `tell` is given how many are
    left; long work is logged.

    Raises StateError.
    """
    read = 0
    for name, at in changelogs.items():
        store = state.stores[name]
        store.abort()
        first, begun_s = store.changelog_offset, time.monotonic()
        told_s = begun_s

        def progress(position: int, end: int, at: TopicPartition = at) -> None:
            nonlocal told_s
            tell(end - position)
            if position < end and time.monotonic() - told_s >= _TELL_AFTER_S:
                told_s = time.monotonic()
                _log.info("state_restoring", task=task, changelog=str(at), position=position, end=end)

        end = await restore(store, log, at, progress)
        tell(0)
        read += end - first
        if end > first:
            seconds = time.monotonic() - begun_s
            rate = round((end - first) / max(seconds, 1e-9))
            _log.info("state_restored", task=task, changelog=str(at), first=first, end=end,
                      seconds=round(seconds, 3), offsets_per_s=rate)  # fmt: skip
    return read
