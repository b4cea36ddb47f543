"""Passwords and TLS against a real broker: who is let in, who is not, and what the refusal says."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.logs import KafkaLog, KafkaOptions, open_log
from streamflow.model.positions import Committed
from streamflow.sdk.errors import LogUnavailable
from streamflow.testing.certificates import Certificates, make_certificates
from streamflow.testing.kafka_security import Listener, Mechanism
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import batch, new_topic, opened, unique, values
from tests.kafka.ways import (
    PASSWORD,
    USER,
    WAYS,
    Way,
    aiokafka_settings,
    environment_of,
    librdkafka_settings,
    name_of,
    options,
)

ROOT = Path(__file__).parents[2]
WRONG_PASSWORD = "not-the-one-you-want"
TIMEOUT_S = 30
REFUSED_AFTER_MS = 500  # a refusal is tried again for so long


every_way = pytest.mark.parametrize("way", WAYS, ids=name_of)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """As good as the others, but of an authority that the broker does not know."""
    return make_certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def secured(
    needs_kafka: None, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """A broker that can be reached in every way, with a topic `kept` of one partition."""
    mechanisms: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    users = {USER: PASSWORD, "bob": "other"}
    listeners = [
        Listener(name="SASL", mechanisms=mechanisms, users=users),
        Listener(name="SCRAM_ALONE", mechanisms=("SCRAM-SHA-256",), users=users),
        Listener(name="TLS", certificates=certificates),
        Listener(name="MUTUAL_TLS", certificates=certificates, client_certificate=True),
        Listener(name="SASL_TLS", mechanisms=mechanisms, users=users, certificates=certificates),
    ]
    with KafkaServer(tmp_path_factory.mktemp("secured"), listeners=listeners, short_lived=True) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(timeout=TIMEOUT_S)
        yield server


@every_way
def test_librdkafka_comes_in(secured: KafkaServer, certificates: Certificates, way: Way) -> None:
    settings = librdkafka_settings(secured, way, certificates)
    told: list[Message] = []
    failed: list[KafkaError | None] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        failed.append(error)
        told.append(message)

    producer = Producer(settings)
    producer.produce("kept", value=b"by librdkafka", on_delivery=delivered)
    assert producer.flush(TIMEOUT_S) == 0
    assert failed == [None]
    consumer = Consumer({**settings, "group.id": "any", "enable.auto.commit": False})
    consumer.assign([Position("kept", 0, told[0].offset() or 0)])
    (message,) = consumer.consume(1, timeout=TIMEOUT_S)
    assert message.value() == b"by librdkafka"
    consumer.close()


@every_way
def test_aiokafka_comes_in(secured: KafkaServer, certificates: Certificates, way: Way) -> None:
    asyncio.run(aiokafka_round_trip(aiokafka_settings(secured, way, certificates)))


async def aiokafka_round_trip(settings: Mapping[str, Any]) -> None:
    async with AIOKafkaProducer(**settings, transactional_id="any") as producer, producer.transaction():
        sent = await producer.send_and_wait("kept", b"by aiokafka")
    async with AIOKafkaConsumer(**settings, isolation_level="read_committed") as consumer:
        at = TopicPartition("kept", 0)
        consumer.assign([at])
        consumer.seek(at, sent.offset)
        assert (await consumer.getone()).value == b"by aiokafka"


@every_way
def test_the_log_comes_in(secured: KafkaServer, certificates: Certificates, way: Way) -> None:
    log = KafkaLog(f"kafka://{secured.bootstrap_of(way.listener)}", options=options(way, certificates))
    asyncio.run(log_round_trip(log))


async def log_round_trip(log: KafkaLog) -> None:
    """Write, read and commit positions in two transactions, the second of which is dropped."""
    async with opened(log):
        at, group = await new_topic(log), unique("group")
        producer = await log.producer(unique("id"))
        for value, position in (("kept", 1), ("dropped", 2)):
            await producer.begin()
            await producer.append(at, [batch(value)])
            await producer.send_offsets(group, {at: Committed(offset=position)})
            if value == "kept":
                await producer.commit()
        await producer.abort()
        await producer.close()
        assert await values(log, at) == ["kept"]
        assert await log.committed(group, [at]) == {at: Committed(offset=1)}


@every_way
def test_options_in_the_environment_do_the_same(
    secured: KafkaServer, certificates: Certificates, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(options(way, certificates)).items():
        monkeypatch.setenv(name, value)
    log = open_log(f"kafka://{secured.bootstrap_of(way.listener)}")
    assert isinstance(log, KafkaLog)
    assert log.options == options(way, certificates)
    asyncio.run(log_round_trip(log))


def refusal(server: KafkaServer, listener: str, chosen: KafkaOptions, says: str) -> tuple[str, KafkaLog]:
    """What is said when the log is not let in, and the log. Where a busy broker gave no answer, it gets longer."""

    async def refused(log: KafkaLog) -> str:
        with pytest.raises(LogUnavailable) as error:
            await log.open()
        await log.close()
        return str(error.value)

    for patience_ms in (REFUSED_AFTER_MS, 40 * REFUSED_AFTER_MS):
        chosen = chosen.model_copy(update={"connect_timeout_ms": patience_ms})
        log = KafkaLog(f"kafka://{server.bootstrap_of(listener)}", options=chosen)
        said = asyncio.run(refused(log))
        gc.collect()  # so that what is left behind is told of here
        if says.lower() in said.lower():
            break
    return said, log


# asyncio leaves the socket of a handshake that is cancelled in its first moment to the garbage collector.
LEFT_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@LEFT_SOCKETS
@pytest.mark.parametrize("way", [way for way in WAYS if way.mechanism], ids=str)
@pytest.mark.parametrize("wrong", [{"sasl_password": WRONG_PASSWORD}, {"sasl_username": "nobody"}], ids=str)
def test_a_wrong_password_is_refused_and_not_shown(
    secured: KafkaServer,
    certificates: Certificates,
    way: Way,
    wrong: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = options(way, certificates, **wrong)
    said, log = refusal(secured, way.listener, chosen, "authentication failed")
    assert "authentication failed" in said.lower()
    assert secured.bootstrap_of(way.listener) in said
    shown = said + repr(chosen) + repr(log) + caplog.text
    assert PASSWORD not in shown
    assert WRONG_PASSWORD not in shown


@pytest.mark.parametrize(
    ("listener", "wrong", "says"),
    [
        ("TLS", {"ssl_cafile": "other"}, "certificate verify failed"),
        ("SASL_TLS", {"ssl_cafile": "other"}, "certificate verify failed"),
        ("TLS", {"ssl_cafile": None}, "certificate verify failed"),
        ("SCRAM_ALONE", {"sasl_mechanism": "PLAIN"}, "UnsupportedSaslMechanism"),
        # Brokers just hang up on these, so the error says how they were spoken to.
        ("MUTUAL_TLS", {"ssl_certfile": None, "ssl_keyfile": None}, "by SSL without a client certificate"),
        ("MUTUAL_TLS", {"ssl_certfile": "other", "ssl_keyfile": "other"}, "by SSL with a client certificate"),
        ("TLS", {"security_protocol": "PLAINTEXT"}, "spoken to by PLAINTEXT"),
        ("SASL", {"security_protocol": "PLAINTEXT"}, "spoken to by PLAINTEXT"),
        ("PLAINTEXT", {"security_protocol": "SSL"}, "spoken to by SSL"),
        ("PLAINTEXT", {"security_protocol": "SASL_PLAINTEXT"}, "spoken to by SASL_PLAINTEXT with PLAIN as user 'ann'"),
    ],
    ids=str,
)
@LEFT_SOCKETS
def test_who_comes_in_wrongly_is_told_why(
    secured: KafkaServer,
    certificates: Certificates,
    strangers: Certificates,
    listener: str,
    wrong: dict[str, Any],
    says: str,
) -> None:
    theirs = {"ssl_cafile": strangers.ca, "ssl_certfile": strangers.client, "ssl_keyfile": strangers.client_key}
    wrong = {name: theirs[name] if value == "other" else value for name, value in wrong.items()}
    sasl = {"sasl_username": USER, "sasl_password": PASSWORD}
    way = next((way for way in WAYS if way.listener == listener), Way(listener, "PLAIN"))
    said, _ = refusal(secured, listener, options(way, certificates, **(sasl | wrong)), says)
    assert says in said
    assert PASSWORD not in said


def worker(server: KafkaServer, chosen: KafkaOptions, listener: str, folder: Path) -> subprocess.Popen[str]:
    """`streamflow worker` as a user starts it, who is who by the environment."""
    environment = {**os.environ, "STREAMFLOW_LOG_LEVEL": "info", **environment_of(chosen)}
    command = [sys.executable, "-m", "streamflow.cli.main", "worker", str(ROOT / "topologies/orders/workflow.yaml")]
    return subprocess.Popen(
        [*command, "--log", f"kafka://{server.bootstrap_of(listener)}"],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("way", [WAYS[2], WAYS[4], WAYS[6]], ids=name_of)
def test_a_worker_comes_in(secured: KafkaServer, certificates: Certificates, way: Way, tmp_path: Path) -> None:
    process = worker(secured, options(way, certificates), way.listener, tmp_path)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "event=task_runs" in line:
            break
    process.terminate()
    said.append(process.communicate(timeout=120)[1])
    assert process.returncode == 0, "".join(said)
    assert PASSWORD not in "".join(said)


def test_a_worker_with_a_wrong_password_says_so(
    secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    way = WAYS[6]
    chosen = options(way, certificates, sasl_password=WRONG_PASSWORD, connect_timeout_ms=10 * REFUSED_AFTER_MS)
    _, said = worker(secured, chosen, way.listener, tmp_path).communicate(timeout=120)
    last = said.splitlines()[-1]
    assert "SF510" in last
    assert "authentication failed" in last.lower()
    assert "Traceback" not in said
    assert WRONG_PASSWORD not in said
