"""What all routes share, and how a signal is answered."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from fastapi import Response

from streamflow.runtime.signals import Signal
from streamflow.sdk.log import Log
from streamflow.server.access import Access
from streamflow.server.repeats import Repeats
from streamflow.server.targets import Workflows
from streamflow.server.writer import SignalWriter
from streamflow.topology.plan import Topology


@dataclass(frozen=True, slots=True)
class Services:
    """`signing_key`: of resume tokens; None: this server takes none."""

    log: Log
    workflows: Workflows
    access: Access
    writer: SignalWriter
    signing_key: bytes | None = field(default=None, repr=False)
    repeats: Repeats = field(default_factory=Repeats)

    async def written(self, topology: Topology, signal: Signal, id: str | None) -> dict[str, Any]:
        """Write a signal, or find where one of this id lies: the facts that are answered. Raises Problem."""

        async def make() -> dict[str, Any]:
            (lies,) = await self.writer.write(topology, [signal])
            return {
                "workflow": topology.workflow,
                "signal": signal.name,
                "key": signal.key,
                "execution": signal.execution,
                "node": signal.node,
                "topic": lies.at.topic,
                "partition": lies.at.partition,
                "offset": lies.offset,
            }

        if id is None:
            return {**await make(), "repeated": False}
        content = orjson.dumps(asdict(signal) | {"token": None})
        facts, repeated = await self.repeats.once((topology.workflow, id), content, make)
        return {**facts, "repeated": repeated}

    async def answer(self, topology: Topology, signal: Signal, id: str | None) -> Response:
        """202: it is committed, and its workflow hears of it."""
        return Response(orjson.dumps(await self.written(topology, signal, id)), 202, media_type="application/json")
