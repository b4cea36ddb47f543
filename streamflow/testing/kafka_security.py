"""Listeners that a test broker opens beside its plain one: with passwords, with TLS, or told under another port.

    Listener(name="SCRAM", mechanisms=("SCRAM-SHA-256",), users={"ann": "secret"})
    Listener(name="TLS", certificates=make_certificates(folder), client_certificate=True)
    Listener(name="PROXIED", advertised_port=proxy.port)

A listener's protocol follows from what it was given: SASL when there are mechanisms, TLS when there are certificates.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from streamflow.sdk.errors import UsageError

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
SCRAM_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
SCRAM_ITERATIONS = 4096  # the least that Kafka takes, and its default
PLAIN, CONTROLLER = "PLAINTEXT", "CONTROLLER"  # the listeners that every broker has
_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_USER = re.compile(r"[A-Za-z0-9._-]+\Z")  # what needs no quoting in any of the places that Kafka reads a name from


class ServerFiles(Protocol):
    """What TLS needs on the broker's side: PEM files. `certificates.Certificates` has them."""

    @property
    def ca(self) -> Path:
        """Who signs: the broker trusts clients with a certificate of this authority."""
        ...

    @property
    def server(self) -> Path:
        """The broker's private key (PKCS 8) followed by its certificate."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One more address that a broker can be reached at.

    name: capital letters, digits and `_`. users: name to password, for all `mechanisms`. client_certificate: whether
    a client must show a certificate of the same authority. advertised_port: what clients are told to connect to,
    such as a proxy's port; 0 is the listener's own.
    """

    name: str
    mechanisms: tuple[Mechanism, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    certificates: ServerFiles | None = None
    client_certificate: bool = False
    advertised_port: int = 0

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or self.name in (PLAIN, CONTROLLER):
            raise UsageError(f"no listener can be named {self.name!r}.", mend="Use a name such as SCRAM or TLS.")
        bad = [user for user in self.users if not _USER.match(user)]
        if bad:
            raise UsageError(f"no user can be named {bad[0]!r}.", mend="Use letters, digits, `.`, `_` and `-`.")
        if self.client_certificate and self.certificates is None:
            raise UsageError(f"listener {self.name} asks for client certificates without TLS.", mend="Give it some.")

    @property
    def protocol(self) -> str:
        """Kafka's name for it, which is also what a client sets as its `security.protocol`."""
        transport = "SSL" if self.certificates is not None else "PLAINTEXT"
        return f"SASL_{transport}" if self.mechanisms else transport

    def settings(self) -> dict[str, str]:
        """The broker's settings for this listener alone."""
        return {f"listener.name.{self.name.lower()}.{name}": value for name, value in self._own_settings().items()}

    def _own_settings(self) -> dict[str, str]:
        settings: dict[str, str] = {}
        if self.certificates is not None:
            settings |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.certificates.server),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.certificates.ca),
                "ssl.client.auth": "required" if self.client_certificate else "none",
            }
        if self.mechanisms:
            settings["sasl.enabled.mechanisms"] = ",".join(self.mechanisms)
        for mechanism in self.mechanisms:
            settings[f"{mechanism.lower()}.sasl.jaas.config"] = self._jaas(mechanism)
        return settings

    def _jaas(self, mechanism: Mechanism) -> str:
        if mechanism != "PLAIN":  # its users are in the cluster's metadata
            return "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        users = "".join(f" user_{user}={_quoted(password)}" for user, password in self.users.items())
        return f"org.apache.kafka.common.security.plain.PlainLoginModule required{users};"


def format_arguments(listeners: Iterable[Listener]) -> list[str]:
    """What the storage tool must be told so that the users of SCRAM listeners exist before the first start."""
    arguments = []
    for listener in listeners:
        for mechanism in listener.mechanisms:
            if mechanism in SCRAM_HASHES:
                for user, password in listener.users.items():
                    arguments += ["--add-scram", scram_credential(mechanism, user, password)]
    return arguments


def scram_credential(mechanism: Mechanism, user: str, password: str) -> str:
    """A user as the storage tool reads one. Salted here, since the tool cannot be told every password."""
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac(SCRAM_HASHES[mechanism], password.encode(), salt, SCRAM_ITERATIONS)
    known = f"name={user},iterations={SCRAM_ITERATIONS},salt={_base64(salt)},saltedpassword={_base64(salted)}"
    return f"{mechanism}=[{known}]"


def _quoted(text: str) -> str:
    """As JAAS reads it: in quotes, with backslashes before quotes and backslashes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
