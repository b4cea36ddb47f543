"""Ways to come into a broker that asks for passwords or TLS, as each client wants them said."""

from dataclasses import dataclass
from typing import Any

from aiokafka.helpers import create_ssl_context
from pydantic import SecretStr

from streamflow.logs import KafkaOptions
from streamflow.testing.certificates import Certificates
from streamflow.testing.kafka_security import Mechanism
from streamflow.testing.kafka_server import KafkaServer

USER, PASSWORD = "ann", 'p w"d\\,]=é%'  # what quoting must bear in a properties file, in JAAS and in SCRAM


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


def name_of(way: Way) -> str:
    return f"{way.listener}-{way.mechanism or ''}".rstrip("-")


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


def options(way: Way, certificates: Certificates, **other: Any) -> KafkaOptions:
    """What a user of streamflow sets to come in that way."""
    given: dict[str, Any] = {"security_protocol": way.protocol}
    if way.mechanism:
        given |= {"sasl_mechanism": way.mechanism, "sasl_username": USER, "sasl_password": PASSWORD}
    if way.tls:
        given["ssl_cafile"] = certificates.ca
    if way.client_certificate:
        given |= {"ssl_certfile": certificates.client, "ssl_keyfile": certificates.client_key}
    return KafkaOptions.make(**(given | other))


def environment_of(chosen: KafkaOptions) -> dict[str, str]:
    """The variables that give these options."""
    given = chosen.model_dump(exclude_defaults=True)
    texts = {name: v.get_secret_value() if isinstance(v, SecretStr) else str(v) for name, v in given.items()}
    return {f"STREAMFLOW_KAFKA_{name.upper()}": text for name, text in texts.items()}
