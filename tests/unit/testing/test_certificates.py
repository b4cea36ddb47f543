"""Certificates as clients check them: the standard library's TLS on both ends, over memory."""

import ssl
from pathlib import Path

import pytest

from streamflow.testing.certificates import Certificates, make_certificates


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection that never left memory. Raises what either end found wrong."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    )
    waiting = set(ends)
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return ends
    raise AssertionError("the two never agree")


def server_context(files: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.load_cert_chain(files.server)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: Certificates, password: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
    context.load_cert_chain(files.client, files.client_key, password)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_both_ends_accept_each_other(tmp_path: Path, host: str) -> None:
    files = make_certificates(tmp_path, client="ann")
    server, _ = shake_hands(server_context(files), client_context(files), host)
    shown = server.getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "ann"),),)


def test_another_host_and_another_authority_are_refused(tmp_path: Path) -> None:
    files, others = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server_context(files), client_context(files), "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(server_context(files), client_context(others), "localhost")


def test_a_client_key_can_have_a_password(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, client_key_password="secret")
    assert b"ENCRYPTED" in files.client_key.read_bytes()
    shake_hands(server_context(files), client_context(files, "secret"), "localhost")
    with pytest.raises(ssl.SSLError):
        client_context(files, "wrong")


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    assert [path.stat().st_mode & 0o077 for path in (files.server, files.client_key)] == [0, 0]
