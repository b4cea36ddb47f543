"""Reads the history of a workflow with slots and says how many executions were under way at once, and when.

It knows nothing of the operator: an execution is under way from the record in which a row of it went to the topic
behind the slots, until, by all of its records so far, each topic between stages has as many rows received as sent and
none waits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from streamflow.model.positions import TopicPartition
from streamflow.runtime.execution_states import decode_records
from streamflow.sdk.log import Log


@dataclass
class Seen:
    """`begun`: executions in the order in which they got a slot. `most`: under way at once; `open`: at the end."""

    begun: list[str] = field(default_factory=list)
    most: int = 0
    open: set[str] = field(default_factory=set)


async def under_way(log: Log, topic: str, behind: str) -> Seen:
    """`topic`: of executions. `behind`: the topic that rows with a slot go to."""
    at, seen = TopicPartition(topic, 0), Seen()
    position, end = await log.offsets(at)
    edges: dict[str, Counter[str]] = defaultdict(Counter)
    waiting: Counter[str] = Counter()
    while position < end and (batches := await log.read(at, position, size_bytes_max=1 << 20)):
        for row in decode_records(batches, first_offset=position).iter_rows(named=True):
            one = row["execution"]
            for edge in row["edges"]:
                edges[one][edge["topic"]] += edge["sent"] - edge["received"]
                if edge["topic"] == behind and edge["sent"]:
                    assert edge["sent"] == 1, f"{one} got {edge['sent']} slots at once"
                    assert one not in seen.begun, f"{one} got a slot twice"
                    seen.begun.append(one)
                    seen.open.add(one)
            waiting[one] += row["waiting"]
            assert min(edges[one].values(), default=0) >= 0, f"{one}: more rows received than sent"
            if not any(edges[one].values()) and not waiting[one]:
                seen.open.discard(one)
            seen.most = max(seen.most, len(seen.open))
        position = batches[-1].last_offset + 1
    return seen
