"""What a test broker is told: quoting, listeners, ports. What the broker makes of it is in tests/kafka."""

import base64
import hashlib
from pathlib import Path

import pytest

from streamflow.sdk.errors import UsageError
from streamflow.testing.certificates import make_certificates
from streamflow.testing.kafka_security import CONTROLLER, PLAIN, Listener, format_arguments
from streamflow.testing.kafka_settings import broker_settings, properties
from streamflow.testing.ports import FIRST, LAST, free_ports


def test_values_are_quoted_as_java_reads_them() -> None:
    said = properties({"a": "plain=#!:", "b": "back\\slash", "c": " é\n𝄞"})
    assert said.splitlines() == ["a=plain=#!:", "b=back\\\\slash", r"c=\ \u00e9\u000a\ud834\udd1e"]


def test_a_plain_broker_has_a_plain_listener_alone(tmp_path: Path) -> None:
    settings = broker_settings("127.0.0.1", {PLAIN: 1, CONTROLLER: 2}, tmp_path, [])
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1"
    assert not any(name.startswith("listener.name.") for name in settings)
    assert format_arguments([]) == []


def test_listeners_are_told_under_their_advertised_port(tmp_path: Path) -> None:
    listeners = [
        Listener(name="PROXIED", advertised_port=99),
        Listener(name="TLS", certificates=make_certificates(tmp_path), client_certificate=True),
        Listener(name="BOTH", mechanisms=("PLAIN",), certificates=make_certificates(tmp_path)),
    ]
    ports = {PLAIN: 1, CONTROLLER: 2, "PROXIED": 3, "TLS": 4, "BOTH": 5}
    settings = broker_settings("h", ports, tmp_path, listeners)
    assert settings["listeners"] == "PLAINTEXT://h:1,CONTROLLER://h:2,PROXIED://h:3,TLS://h:4,BOTH://h:5"
    assert settings["advertised.listeners"] == "PROXIED://h:99,TLS://h:4,BOTH://h:5,PLAINTEXT://h:1"
    assert settings["listener.security.protocol.map"].split(",") == [
        "PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", "PROXIED:PLAINTEXT", "TLS:SSL", "BOTH:SASL_SSL",
    ]  # fmt: skip
    assert settings["listener.name.tls.ssl.client.auth"] == "required"
    assert settings["listener.name.both.ssl.client.auth"] == "none"


def test_passwords_are_quoted_for_plain_and_salted_for_scram() -> None:
    password = 'a"b\\,]'
    listener = Listener(name="SASL", mechanisms=("PLAIN", "SCRAM-SHA-512"), users={"ann": password})
    assert listener.protocol == "SASL_PLAINTEXT"
    jaas = listener.settings()["listener.name.sasl.plain.sasl.jaas.config"]
    assert jaas.endswith(r'PlainLoginModule required user_ann="a\"b\\,]";')
    option, credential = format_arguments([listener])
    assert option == "--add-scram"
    mechanism, _, known = credential.partition("=[")
    told = dict(one.split("=", 1) for one in known.removesuffix("]").split(","))
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(told["salt"]), int(told["iterations"]))
    assert (mechanism, told["name"]) == ("SCRAM-SHA-512", "ann")
    assert base64.b64decode(told["saltedpassword"]) == salted


@pytest.mark.parametrize(
    "wrong",
    [{"name": "lower"}, {"name": "CONTROLLER"}, {"name": "PLAINTEXT"}, {"name": "A", "users": {"a,b": "p"}},
     {"name": "A", "client_certificate": True}],
)  # fmt: skip
def test_what_kafka_would_misread_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Listener(**wrong)  # type: ignore[arg-type]


def test_free_ports_are_different_and_not_those_of_outgoing_connections() -> None:
    ports = free_ports("127.0.0.1", 50)
    assert len(set(ports)) == 50
    assert all(FIRST <= port <= LAST for port in ports)
