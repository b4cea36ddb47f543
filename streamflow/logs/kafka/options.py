"""KafkaOptions: how to reach a cluster. From code, from the environment (STREAMFLOW_KAFKA_*), from the address."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Compression
from streamflow.sdk.tls import client_context

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
_SCHEME: Final = "kafka://"
_SECRETS: Final = ("sasl_password", "ssl_key_password")
_PORT: Final = 9092


class KafkaOptions(BaseSettings):
    """Everything about the connection that is not the address. Passwords show in no repr and no error.

    `retry_ms` bounds how long an operation goes on trying while brokers are away; `request_timeout_ms` is one request.
    `transaction_bytes_max` of a transaction wait here before they are sent. `buffer_bytes_max` is fetched ahead at
    most; `buffer_idle_ms` after its last read a partition is fetched no more.
    `replication_factor` of topics that we create; without it as many as there are brokers, at most 3.
    """

    model_config = SettingsConfigDict(
        env_prefix="STREAMFLOW_KAFKA_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_key_password: SecretStr = SecretStr("")
    ssl_check_hostname: bool = True

    client_id: str = "streamflow"
    request_timeout_ms: int = Field(default=30_000, ge=100)
    connect_timeout_ms: int = Field(default=15_000, ge=100)
    retry_ms: int = Field(default=120_000, ge=0)
    metadata_max_age_ms: int = Field(default=60_000, ge=1_000)

    compression: Compression = "lz4"
    transaction_timeout_ms: int = Field(default=60_000, ge=1_000)
    transaction_bytes_max: int = Field(default=8 << 20, ge=1)
    replication_factor: int | None = Field(default=None, ge=1)

    fetch_wait_ms: int = Field(default=200, ge=1)
    fetch_bytes_max: int = Field(default=32 << 20, ge=1 << 16)
    partition_bytes_max: int = Field(default=8 << 20, ge=1 << 16)
    buffer_bytes_max: int = Field(default=64 << 20, ge=1 << 20)
    buffer_idle_ms: int = Field(default=10_000, ge=100)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password.get_secret_value()
        ):
            raise ValueError(f"{self.security_protocol} needs sasl_username and sasl_password")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        return self

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context that the options describe, or None. Raises UsageError where a file does not fit."""
        if not self.security_protocol.endswith("SSL"):
            return None
        context = client_context(
            "Kafka",
            cafile=self.ssl_cafile,
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            key_password=self.ssl_key_password.get_secret_value(),
        )
        context.check_hostname = self.ssl_check_hostname
        return context

    @property
    def spoken(self) -> str:
        """How brokers are spoken to, for errors: a broker that expects something else just hangs up."""
        said: str = self.security_protocol
        if said.startswith("SASL"):
            said += f" with {self.sasl_mechanism} as user {self.sasl_username!r}"
        if said.endswith("SSL"):
            said += " with a client certificate" if self.ssl_certfile else " without a client certificate"
        return said

    @classmethod
    def make(cls, **given: Any) -> Self:
        """Options from the environment and `given`, which wins. Raises UsageError, which quotes no value."""
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            known = ", ".join(cls.model_fields)
            raise UsageError(
                f"Kafka option {name or 'values'}: {first['msg']}.",
                mend=f"Options are query parts of the address or STREAMFLOW_KAFKA_* variables: {known}.",
            ) from None


def parse_address(address: str) -> tuple[list[str], dict[str, str]]:
    """kafka://HOST:PORT[,HOST:PORT][?option=value&...] as (servers, options). Raises UsageError."""
    rest, _, query = address.removeprefix(_SCHEME).partition("?")
    servers = [one.strip() for one in rest.rstrip("/").split(",")]
    for one in servers:
        host, _, port = one.rpartition(":") if ":" in one else (one, "", str(_PORT))
        if not host or not port.isdigit() or "@" in one or "/" in one:
            # Not the address itself: somebody may have put a password there.
            raise UsageError(
                "the address of the Kafka log is not kafka://HOST:PORT[,HOST:PORT].",
                mend="Give brokers as HOST:PORT, user and password as STREAMFLOW_KAFKA_SASL_USERNAME and _PASSWORD.",
            )
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in _SECRETS:
        if name in options:
            raise UsageError(
                f"{name} stands in the address of the log, which is shown and logged.",
                mend=f"Put it into the variable STREAMFLOW_KAFKA_{name.upper()}.",
            )
    return [one if ":" in one else f"{one}:{_PORT}" for one in servers], options
