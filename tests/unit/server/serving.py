"""The application over a log of its own, asked without a network."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import fastavro
import httpx

from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.logs.embedded import EmbeddedLog
from streamflow.operators.signals import SIGNAL
from streamflow.operators.signing import Claim, sign
from streamflow.sdk.errors import LogUnavailable
from streamflow.sdk.log import Producer, TopicInfo, TopicSpec
from streamflow.server.access import Access
from streamflow.server.app import make_app
from streamflow.server.services import Services
from streamflow.server.targets import Workflows
from streamflow.server.writer import SignalWriter
from tests.simulation.running import compiled, contents

WORKFLOW = """
workflow: shop
nodes:
  orders: {type: event, topic: orders, format: json, schema: order.avsc, key: id}
  checked: {type: wait, signal: approval, key: id, timeout: 1h}
  seen: {type: wait, signal: look, field: seen}
  paid: {type: wait, signal: payment, signed: true, field: payment}
  shipped: {type: publish, topic: shipped, format: json}
connections: [orders -> checked -> seen -> paid -> shipped]
"""
ORDER = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
SECRET = b"a key that is long enough"
BEARER = "a token that nobody guesses".replace(" ", "-")
T = TypeVar("T")


class ShakyLog(EmbeddedLog):
    """A log that is away when told so, and whose calls for some topics do not return before they are let."""

    away = False
    hangs: Mapping[str, asyncio.Event] = {}

    async def producer(self, transactional_id: str) -> Producer:
        if self.away:
            raise LogUnavailable("nobody is there.")
        return await super().producer(transactional_id)

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        if spec.name in self.hangs:
            await self.hangs[spec.name].wait()
        return await super().create_topic(spec)

    async def topics(self) -> Any:
        if self.away:
            raise LogUnavailable("nobody is there.")
        return await super().topics()


@dataclass
class Served:
    client: httpx.AsyncClient
    log: ShakyLog
    services: Services

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """With the token of the server, unless other headers are given."""
        given = {"Authorization": f"Bearer {BEARER}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.client.post(path, json=body, headers=given)

    async def written(self) -> list[dict[str, Any]]:
        """All signals of the workflow, in order of partitions."""
        if "shop.signals" not in await self.log.topics():
            return []
        rows = await contents(self.log, "shop.signals")
        schema = fastavro.parse_schema(json.loads(json.dumps(schema_to_avro(SIGNAL))))
        return [
            cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(value), schema, None))
            for of in rows.values()
            for _, _, value, _ in of
        ]


def serving(
    folder: Path,
    work: Callable[[Served], Awaitable[T]],
    *,
    access: Access | None = None,
    workflows: Sequence[str] = (WORKFLOW,),
) -> T:
    """Run `work` with a server of these workflows."""
    (folder / "order.avsc").write_text(ORDER)
    topologies = [compiled(text, folder) for text in workflows]

    async def run() -> T:
        log = ShakyLog(folder / "log")
        await log.open()
        writer = SignalWriter(log, 1)
        given = access or Access(token=BEARER)
        services = Services(log, Workflows({t.workflow: t for t in topologies}), given, writer, SECRET)
        transport = httpx.ASGITransport(make_app(services))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await work(Served(client, log, services))
        finally:
            await writer.close()
            await log.close()

    return asyncio.run(run())


def token(node: str = "paid", execution: str = "e1", *, workflow: str = "shop", key: bytes = SECRET) -> str:
    return sign(Claim(workflow, node, execution, execution), key)
