"""Real brokers for the tests of this folder: each process of pytest has its own, until it ends."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.testing.kafka_artifacts import BrokerError, jars, java
from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_security import Listener
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.kafka_settings import QUICK_TO_NOTICE
from tests.conftest import CI
from tests.kafka.wire import end_offset

HERE = Path(__file__).parent
MakeTopic = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)


_SHARED: list[KafkaServer] = []  # brokers that serve until the session ends


def pytest_runtest_setup(item: pytest.Item) -> None:
    for server in _SHARED:
        server.resume()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Behind the last test of this folder brokers stand still: six that idle take a third of a core from the others."""
    if nextitem is not None and HERE not in nextitem.path.parents:
        for server in _SHARED:
            server.pause()


@contextmanager
def _shared(server: KafkaServer) -> Iterator[KafkaServer]:
    with server:
        _SHARED.append(server)
        yield server
        _SHARED.remove(server)


@pytest.fixture(scope="session")
def needs_kafka() -> None:
    """Skip where no broker can be had; on CI fail instead."""
    try:
        java()
        jars()
    except BrokerError as error:
        if CI:
            pytest.fail(f"CI must run the tests on a real broker: {error}", pytrace=False)
        pytest.skip(f"no real broker here: {error}")


@pytest.fixture(scope="session")
def kafka(needs_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that serves. Tests do not stop it; those that must, start one of their own."""
    with _shared(KafkaServer(tmp_path_factory.mktemp("kafka"), short_lived=True)) as server:
        yield server


@pytest.fixture(scope="session")
def quick_kafka(needs_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker whose groups notice a dead member within seconds, for tests that kill workers."""
    settings = {"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}
    with _shared(KafkaServer(tmp_path_factory.mktemp("quick-kafka"), settings=settings, short_lived=True)) as server:
        yield server


@pytest.fixture(scope="session")
def proxied(needs_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaServer, KafkaProxy]]:
    """A broker and a proxy before it; the server's `bootstrap` leads past the proxy. Use `proxy` in tests."""
    with KafkaProxy(seed=11) as proxy:
        listeners = [Listener(name="PROXIED", advertised_port=proxy.port)]
        folder = tmp_path_factory.mktemp("proxied")
        with _shared(KafkaServer(folder, settings=QUICK_TO_NOTICE, listeners=listeners, short_lived=True)) as server:
            proxy.forward_to(server.host, server.port_of("PROXIED"))
            yield server, proxy


@pytest.fixture
def proxy(proxied: tuple[KafkaServer, KafkaProxy]) -> Iterator[KafkaProxy]:
    """The way to the broker, without a fault before and after each test."""
    yield proxied[1]
    proxied[1].heal()


@pytest.fixture(scope="session")
def make_topic(kafka: KafkaServer) -> MakeTopic:
    """Create a topic with a name of its own: `make_topic(stem, partitions=1, config={})`."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    numbers = count()

    def make(stem: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = f"{stem}-{next(numbers)}"
        made = admin.create_topics([NewTopic(name, partitions, 1, config=dict(config or {}))])
        made[name].result(timeout=30)
        _wait_until_led(kafka.bootstrap, name, partitions)
        return name

    return make


def _wait_until_led(bootstrap: str, topic: str, partitions: int) -> None:
    """Created is not yet led: ask, as every client does, until the leaders of all partitions answer."""
    deadline = time.monotonic() + 30
    for partition in range(partitions):
        while error := end_offset(bootstrap, topic, partition)[0]:
            assert time.monotonic() < deadline, f"{topic}/{partition} has no leader: error {error}"
