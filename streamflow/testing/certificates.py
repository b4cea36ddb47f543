"""Certificates for tests of TLS: an authority of this run's own, a server's and a client's certificate.

Needs the `cryptography` package, which tests have and a worker does not need: import this module only where it is used.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("127.0.0.1", "::1", "localhost")
VALID_DAYS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files. Two calls of `make_certificates` give two authorities that know nothing of each other."""

    ca: Path
    server: Path  # key and certificate in one file, as Kafka's PEM key store wants it
    client: Path  # the certificate alone
    client_key: Path


def make_certificates(
    folder: Path, *, hosts: Sequence[str] = HOSTS, client: str = "client", client_key_password: str = ""
) -> Certificates:
    """Make an authority and what it signs, in `folder` (made if needed).

    hosts: addresses and names that the server's certificate is good for. client: common name of the client's
    certificate. client_key_password: encrypts the client's key when it is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(
        ca=folder / "ca.pem",
        server=folder / "server.pem",
        client=folder / "client.pem",
        client_key=folder / "client.key",
    )
    authority = _Authority(f"streamflow test authority of {folder.name}")
    made.ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))

    key = ec.generate_private_key(ec.SECP256R1())
    server = authority.sign(key, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, hosts)
    made.server.write_bytes(_key_pem(key, NoEncryption()) + server.public_bytes(Encoding.PEM))

    key = ec.generate_private_key(ec.SECP256R1())
    made.client.write_bytes(authority.sign(key, client, ExtendedKeyUsageOID.CLIENT_AUTH).public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(client_key_password.encode()) if client_key_password else NoEncryption()
    made.client_key.write_bytes(_key_pem(key, encryption))
    for secret in (made.server, made.client_key):
        secret.chmod(0o600)
    return made


class _Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = (
            _begun(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def sign(
        self, key: ec.EllipticCurvePrivateKey, name: str, use: x509.ObjectIdentifier, hosts: Sequence[str] = ()
    ) -> x509.Certificate:
        begun = (
            _begun(_named(name), self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            begun = begun.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        return begun.sign(self._key, hashes.SHA256())


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of containers differ
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
