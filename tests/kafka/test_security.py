"""Passwords and TLS against a real broker: who is let in, who is not, and what the refusal says."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import TopicPartition
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.testing.certificates import Certificates, make_certificates
from streamflow.testing.kafka_security import Listener, Mechanism
from streamflow.testing.kafka_server import KafkaServer

USER, PASSWORD = "ann", 'p w"d\\,]=é%'  # what quoting must bear in a properties file, in JAAS and in SCRAM
WRONG_PASSWORD = "not-the-one-you-want"
TIMEOUT_S = 30


@dataclass(frozen=True)
class Way:
    """How a client comes in."""

    listener: str
    mechanism: Mechanism | None = None
    tls: bool = False
    client_certificate: bool = False

    @property
    def protocol(self) -> str:
        return ("SASL_" if self.mechanism else "") + ("SSL" if self.tls else "PLAINTEXT")


WAYS = [
    Way("SASL", "PLAIN"),
    Way("SASL", "SCRAM-SHA-256"),
    Way("SASL", "SCRAM-SHA-512"),
    Way("TLS", tls=True),
    Way("MUTUAL_TLS", tls=True, client_certificate=True),
    Way("SASL_TLS", "PLAIN", tls=True),
    Way("SASL_TLS", "SCRAM-SHA-256", tls=True),
    Way("SASL_TLS", "SCRAM-SHA-512", tls=True),
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.listener}-{way.mechanism or ''}".rstrip("-"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(
    needs_kafka: None, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """A broker that can be reached in every way, with a topic `kept` of one partition."""
    mechanisms: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    users = {USER: PASSWORD, "bob": "other"}
    listeners = [
        Listener(name="SASL", mechanisms=mechanisms, users=users),
        Listener(name="TLS", certificates=certificates),
        Listener(name="MUTUAL_TLS", certificates=certificates, client_certificate=True),
        Listener(name="SASL_TLS", mechanisms=mechanisms, users=users, certificates=certificates),
    ]
    with KafkaServer(tmp_path_factory.mktemp("secured"), listeners=listeners) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(timeout=TIMEOUT_S)
        yield server


def librdkafka_settings(server: KafkaServer, way: Way, certificates: Certificates) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap.servers": server.bootstrap_of(way.listener),
        "security.protocol": way.protocol,
    }
    if way.mechanism:
        settings |= {"sasl.mechanism": way.mechanism, "sasl.username": USER, "sasl.password": PASSWORD}
    if way.tls:
        settings["ssl.ca.location"] = str(certificates.ca)
    if way.client_certificate:
        settings |= {
            "ssl.certificate.location": str(certificates.client),
            "ssl.key.location": str(certificates.client_key),
        }
    return settings


def aiokafka_settings(server: KafkaServer, way: Way, certificates: Certificates) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap_servers": server.bootstrap_of(way.listener),
        "security_protocol": way.protocol,
    }
    if way.mechanism:
        settings |= {
            "sasl_mechanism": way.mechanism,
            "sasl_plain_username": USER,
            "sasl_plain_password": PASSWORD,
        }
    if way.tls:
        settings["ssl_context"] = create_ssl_context(
            cafile=certificates.ca,
            certfile=certificates.client if way.client_certificate else None,
            keyfile=certificates.client_key if way.client_certificate else None,
        )
    return settings


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
