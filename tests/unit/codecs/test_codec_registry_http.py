"""The client of a registry server, against one that is well, ill, locked, or not what it should be (real sockets)."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamflow.codecs.registry import HttpRegistry, IncompatibleSchema, RegistryUnavailable, UnknownSchema
from streamflow.codecs.registry_http import RESPONSE_BYTES_MAX
from streamflow.codecs.registry_options import RegistryOptions
from streamflow.sdk.errors import SchemaError, UsageError
from streamflow.testing.certificates import make_certificates
from streamflow.testing.registry_stub import Kind, RegistryStub

ONE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
OTHER = json.dumps({"type": "record", "name": "R", "fields": [{"name": "b", "type": "int"}]})
SECRET = "not-to-be-seen"


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with RegistryStub() as server:
        yield server


class Client(HttpRegistry):
    """Remembers the pauses that it was to make, and makes none."""

    def __init__(self, address: str, /, **options: object) -> None:
        self.pauses: list[float] = []
        super().__init__(address, options=RegistryOptions.make(**options), pause=self.pauses.append)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_ids_are_asked_for_once(stub: RegistryStub) -> None:
    schema_id = stub.schemas.add("t-value", ONE)
    with Client(stub.url + "/") as client:
        for _ in range(3):
            assert client.by_id(schema_id) == ONE
            assert client.register("t-value", ONE) == schema_id
            assert client.latest("t-value") == (schema_id, 1, ONE)
    assert stub.asked == [
        f"GET /schemas/ids/{schema_id}",
        "POST /subjects/t-value/versions",
        *["GET /subjects/t-value/versions/latest"] * 3,
    ]


def test_what_a_replica_does_not_know_yet_is_asked_again(stub: RegistryStub) -> None:
    with Client(stub.url) as client:
        with pytest.raises(UnknownSchema, match="HTTP 404: Schema 1 not found"):
            client.by_id(1)
        stub.schemas.add("t-value", ONE)
        assert client.by_id(1) == ONE


@pytest.mark.parametrize("subject", ["a/b", "ü ?#%2F", ".."])
def test_subjects_are_quoted(stub: RegistryStub, subject: str) -> None:
    with Client(stub.url) as client:
        if subject == "..":  # a path of dots is resolved on the way, so there is no such subject
            with pytest.raises((UnknownSchema, RegistryUnavailable)):
                client.register(subject, ONE)
            return
        assert client.register(subject, ONE) == 1
        assert client.latest(subject) == (1, 1, ONE)
        with pytest.raises(IncompatibleSchema, match="HTTP 409"):
            client.register(subject, OTHER)


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("status", 503), ("status", 429), ("hang_up", 0)])
def test_an_illness_that_passes_is_not_noticed(stub: RegistryStub, kind: Kind, status: int) -> None:
    stub.schemas.add("t-value", ONE)
    with Client(stub.url) as client:
        stub.fail(kind, status=status, times=3)
        assert client.by_id(1) == ONE
        assert client.pauses == [0.1, 0.2, 0.4]
        stub.fail(kind, status=status, times=1)
        assert client.register("other-value", ONE) == 1
    assert len(stub.asked) == 4 + 2


@pytest.mark.parametrize(("kind", "status"), [("status", 503), ("hang_up", 0)])
def test_an_illness_that_stays_is_not_an_unknown_schema(stub: RegistryStub, kind: Kind, status: int) -> None:
    stub.fail(kind, status=status, times=99)
    with Client(stub.url, retries_max=2) as client, pytest.raises(RegistryUnavailable, match=r"503|disconnected"):
        client.by_id(1)
    assert (len(stub.asked), client.pauses) == (3, [0.1, 0.2])


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(200, b"<html>welcome</html>", "HTTP 200: <html>welcome"), (200, b"[1]", "HTTP 200"), (200, b"{}", "HTTP 200"),
     (200, b'{"schema": 5}', "no text `schema`"), (404, b"<html>not here</html>", "HTTP 404: <html>"),
     (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}', "HTTP 404"), (302, b"", "HTTP 302"),
     (422, b'{"error_code": 42205, "message": "not in this mode"}', "not in this mode"),
     (200, b"\xff\xfe", "HTTP 200"), (400, b"", "HTTP 400")],
)  # fmt: skip
def test_what_no_registry_says_is_no_answer(stub: RegistryStub, status: int, body: bytes, says: str) -> None:
    """Above all it is not "unknown": a wrong address must not make every record a dead letter."""
    stub.fail("status", status=status, body=body)
    with Client(stub.url) as client, pytest.raises(RegistryUnavailable, match=says):
        client.by_id(1)
    assert len(stub.asked) == 1  # to ask again would not help


def test_an_id_must_be_a_number(stub: RegistryStub) -> None:
    for body in (b'{"id": true}', b'{"id": "1"}', b'{"version": 1}'):
        stub.fail("garbage", body=body)
        with Client(stub.url) as client, pytest.raises(RegistryUnavailable, match="no number `id`"):
            client.register("t-value", ONE)


def test_what_is_no_schema_is_said_by_the_registry(stub: RegistryStub) -> None:
    with Client(stub.url) as client, pytest.raises(SchemaError, match="HTTP 422: Invalid schema"):
        client.register("t-value", '{"type": "nonsense"}')


def test_references_and_other_formats_are_refused_clearly(stub: RegistryStub) -> None:
    references = [{"name": "com.acme.Money", "subject": "money", "version": 1}]
    stub.schemas.add_foreign("a", ONE, references=references)
    stub.schemas.add_foreign("b", 'syntax = "proto3";', schemaType="PROTOBUF")
    with Client(stub.url) as client:
        for ask in (lambda: client.by_id(1), lambda: client.latest("a")):
            with pytest.raises(
                UnknownSchema, match=r"(schema 1|newest schema of a) refers to .* what it refers to ins"
            ):
                ask()
        for ask in (lambda: client.by_id(2), lambda: client.latest("b")):
            with pytest.raises(UnknownSchema, match="is PROTOBUF, not Avro"):
                ask()


def test_a_large_answer_is_not_read_to_its_end(stub: RegistryStub) -> None:
    stub.fail("garbage", body=json.dumps({"schema": "x" * RESPONSE_BYTES_MAX}).encode())
    with Client(stub.url) as client, pytest.raises(RegistryUnavailable, match="more than 4194304 bytes"):
        client.by_id(1)


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_either(stub: RegistryStub) -> None:
    stub.fail("garbage", body=gzip.compress(bytes(64 << 20)), encoding="gzip")
    with Client(stub.url) as client, pytest.raises(RegistryUnavailable, match="more than 4194304 bytes"):
        client.by_id(1)


def test_who_does_not_answer_is_given_up(stub: RegistryStub) -> None:
    stub.fail("slow", times=99)
    with Client(stub.url, timeout_ms=50, retries_max=1) as client, pytest.raises(RegistryUnavailable, match="ReadTime"):
        client.by_id(1)
    assert len(stub.asked) == 2


def test_who_is_not_there_is_given_up(stub: RegistryStub) -> None:
    gone = stub.url
    stub.stop()
    with Client(gone, retries_max=1) as client, pytest.raises(RegistryUnavailable, match="ConnectError"):
        client.latest("t-value")
    assert client.pauses == [0.1]
    stub.__init__()  # type: ignore[misc]  # the fixture stops it again
    stub.start()


@pytest.mark.parametrize(
    ("server", "right", "wrong"),
    [({"username": "ann", "password": SECRET}, {"username": "ann", "password": SECRET},
      {"username": "ann", "password": SECRET + "x"}),
     ({"token": SECRET}, {"token": SECRET}, {"token": SECRET + "x"}), ({"token": SECRET}, {"token": SECRET}, {})],
)  # fmt: skip
def test_who_we_are(server: dict[str, str], right: dict[str, str], wrong: dict[str, str]) -> None:
    with RegistryStub(**server) as stub:  # type: ignore[arg-type]
        with Client(stub.url, url=stub.url, **right) as client:
            assert client.register("t-value", ONE) == 1
        with Client(stub.url, url=stub.url, **wrong) as client, pytest.raises(RegistryUnavailable) as error:
            client.by_id(1)
        assert "HTTP 401: Unauthorized" in str(error.value)
        assert "STREAMFLOW_REGISTRY_URL" in str(error.value)
        assert SECRET not in str(error.value) + repr(RegistryOptions.make(url=stub.url, **right))
        assert client.pauses == []


def test_no_other_registry_is_told_our_password(stub: RegistryStub) -> None:
    options = {"username": "ann", "password": SECRET}
    with Client(stub.url, url="http://127.0.0.1:1", **options) as client:
        client.register("t-value", ONE)
    with Client(stub.url.replace("127.0.0.1", "localhost"), url=stub.url, **options) as client:
        client.register("t-value", ONE)
    assert not any("Authorization" in headers for headers in stub.headers)
    with Client(stub.url + "/", url=stub.url, **options) as client:
        client.register("t-value", ONE)
    assert "Authorization" in stub.headers[-1]


def test_options_come_from_the_environment(stub: RegistryStub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL": stub.url, "USERNAME": "ann", "PASSWORD": "p"}.items():
        monkeypatch.setitem(os.environ, f"STREAMFLOW_REGISTRY_{name}", value)
    client = HttpRegistry(stub.url)
    client.register("t-value", ONE)
    client.close()
    assert stub.headers[-1]["Authorization"] == "Basic YW5uOnA="


@pytest.mark.parametrize(
    ("given", "says"),
    [({"username": "ann", "password": SECRET}, "need url"), ({"token": SECRET}, "need url"),
     ({"url": "http://h", "token": SECRET, "username": "ann"}, "exclude"), ({"ssl_keyfile": "k"}, "needs ssl_certfile"),
     ({"timeout_ms": 0}, "timeout_ms"), ({"retries_max": SECRET}, "retries_max"), ({"nonsense": SECRET}, "nonsense")],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        RegistryOptions.make(**given)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [f"http://ann:{SECRET}@h", "ftp://h", "http://", "http://h:99999", f"http://h/?key={SECRET}", "h:1", "http://h:x"],
)
def test_an_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(
        RegistryUnavailable, match=r"(?i)address of the schema registry.*STREAMFLOW_REGISTRY_U"
    ) as error:
        HttpRegistry(url)
    assert SECRET not in str(error.value)


def test_tls_with_and_without_a_client_certificate(tmp_path: Path) -> None:
    files, others = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    locked = make_certificates(tmp_path / "c", client_key_password=SECRET)
    with RegistryStub(certificates=files) as stub:
        with Client(stub.url, ssl_cafile=files.ca) as client:
            assert client.register("t-value", ONE) == 1
        with Client(stub.url, ssl_cafile=others.ca) as client, pytest.raises(RegistryUnavailable) as error:
            client.by_id(1)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error.value)
        assert "STREAMFLOW_REGISTRY_SSL_CAFILE" in str(error.value)
        assert client.pauses == []
    with RegistryStub(certificates=locked, client_certificate=True) as stub:
        ours = {"ssl_certfile": locked.client, "ssl_keyfile": locked.client_key, "ssl_key_password": SECRET}
        with Client(stub.url, url=stub.url, ssl_cafile=locked.ca, **ours) as client:
            assert client.register("t-value", ONE) == 1
        with Client(stub.url, ssl_cafile=locked.ca) as client, pytest.raises(RegistryUnavailable) as error:
            client.by_id(1)
        assert "STREAMFLOW_REGISTRY_URL, _SSL_CERTFILE" in str(error.value)
        assert client.pauses == []
        with pytest.raises(UsageError, match="PEM files") as usage:
            Client(stub.url, url=stub.url, ssl_cafile=locked.ca, **(ours | {"ssl_key_password": "wrong"}))
        assert SECRET not in str(usage.value)


def test_many_threads_share_a_client(stub: RegistryStub) -> None:
    with Client(stub.url) as client:
        got: list[int] = []
        threads = [
            threading.Thread(target=lambda i=i: got.append(client.register(f"s{i % 4}", ONE))) for i in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [1] * 16
