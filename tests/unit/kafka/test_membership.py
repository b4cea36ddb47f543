"""A group is joined only once some broker names the topics by which tasks are dealt out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from streamflow.logs.kafka import membership
from streamflow.logs.kafka.membership import Membership
from streamflow.sdk.errors import LogUnavailable

Answer = Mapping[str, set[int]] | Exception


class Cluster:
    """Makes clients; each sees the next answer of the brokers, topics or an error, and from then on the last one."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.clients = list(answers), list[FakeClient]()

    def client(self, **_: Any) -> FakeClient:
        self.clients.append(FakeClient(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))
        return self.clients[-1]


class FakeClient:
    def __init__(self, answer: Answer) -> None:
        self.cluster, self.closed, self._answer = self, False, answer

    async def bootstrap(self) -> None:
        if isinstance(self._answer, Exception):
            raise self._answer

    async def set_topics(self, _: list[str]) -> bool:
        return bool(self._answer)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        assert not isinstance(self._answer, Exception)
        return self._answer.get(topic)

    async def close(self) -> None:
        self.closed = True


class Silent:
    name = "silent"

    def said(self) -> bytes:
        return b""

    def assign(self, topics: Mapping[str, int], members: Mapping[str, bytes]) -> Mapping[str, Any]:
        return {}

    def told(self, note: bytes) -> None:
        pass


async def _nothing(*_: object) -> None:
    pass


def reached(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, *, timeout_ms: int = 60_000) -> Any:
    monkeypatch.setattr(membership, "Client", cluster.client)
    monkeypatch.setattr(membership, "_CHECK_S", 0)
    member = Membership(
        {}, group="g", topics=["a", "b"], assignor=Silent(), revoking=_nothing, assigned=_nothing,
        rebalance_timeout_ms=timeout_ms,
    )  # fmt: skip
    return asyncio.run(member._reach())


def test_brokers_that_name_nothing_yet_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster({}, {"a": {0}}, {"a": {0}, "b": {0, 1}})
    found = reached(monkeypatch, cluster)
    assert found is cluster.clients[-1]
    assert [client.closed for client in cluster.clients] == [True, True, False]


def test_brokers_that_never_name_anything_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster({})
    with pytest.raises(LogUnavailable, match=r"no broker named its topics within 0\.02 s"):
        reached(monkeypatch, cluster, timeout_ms=20)
    assert all(client.closed for client in cluster.clients)


def test_no_broker_at_all_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(KafkaConnectionError("refused"))
    with pytest.raises(LogUnavailable, match="refused"):
        reached(monkeypatch, cluster)
    assert len(cluster.clients) == 1
