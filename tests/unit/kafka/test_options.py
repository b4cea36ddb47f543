"""Options of the Kafka log: where they come from, and that a password shows nowhere."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from streamflow.logs import KafkaLog, KafkaOptions, open_log
from streamflow.logs.kafka.options import parse_address
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log

SECRET = "n0t-for-your-eyes"


def test_an_address_gives_servers_and_options() -> None:
    log = open_log("kafka://one:9092,two?compression=zstd&client_id=me&retry_ms=5")
    assert isinstance(log, KafkaLog)
    assert isinstance(log, Log)
    assert (log.options.compression, log.options.client_id, log.options.retry_ms) == ("zstd", "me", 5)
    assert log.client_settings()["bootstrap_servers"] == ["one:9092", "two:9092"]


@pytest.mark.parametrize(
    "address", ["kafka://", "kafka://:9092", "kafka://host:port", "kafka://me:pw@host:1", "kafka://a,"]
)
def test_a_wrong_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT") as error:
        parse_address(address)
    assert "pw" not in str(error.value)


def test_the_environment_gives_what_the_address_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_KAFKA_COMPRESSION", "gzip")
    monkeypatch.setenv("STREAMFLOW_KAFKA_CLIENT_ID", "env")
    options = KafkaLog("kafka://h:1?client_id=url").options
    assert (options.compression, options.client_id) == ("gzip", "url")


def test_sasl_settings_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_KAFKA_SASL_PASSWORD", SECRET)
    log = KafkaLog("kafka://h:1?security_protocol=SASL_PLAINTEXT&sasl_mechanism=SCRAM-SHA-512&sasl_username=me")
    settings = log.client_settings()
    assert settings["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (settings["sasl_plain_username"], settings["sasl_plain_password"]) == ("me", SECRET)
    for shown in (repr(log.options), str(log.options), repr(log), log.address, log.options.model_dump_json()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"compression": "brotli"}, "compression"),
        ({"security_protocol": "SASL_SSL", "sasl_password": SECRET}, "sasl_username"),
        ({"retry_ms": "soon"}, "retry_ms"),
        ({"no_such": "1"}, "no_such"),
        ({"ssl_keyfile": "k.pem"}, "ssl_certfile"),
    ],
)
def test_wrong_options_are_told_without_their_values(given: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError, match=what) as error:
        KafkaOptions.make(**given)
    assert SECRET not in str(error.value)
    assert "STREAMFLOW_KAFKA_" in str(error.value)


@pytest.mark.parametrize("name", ["sasl_password", "ssl_key_password"])
def test_a_password_in_the_address_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"STREAMFLOW_KAFKA_{name.upper()}") as error:
        KafkaLog(f"kafka://h:1?{name}={SECRET}")
    assert SECRET not in str(error.value)


def test_tls_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    options = KafkaOptions.make(security_protocol="SSL", ssl_cafile=wrong)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        options.ssl_context()


def test_tls_checks_certificates_and_names() -> None:
    context = KafkaOptions.make(security_protocol="SSL").ssl_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert KafkaOptions.make().ssl_context() is None
