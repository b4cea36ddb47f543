"""Registries: a folder, and a server that a small one stands in for (real sockets)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.avrotypes import rabin
from streamflow.codecs.registry import (
    FileRegistry,
    HttpRegistry,
    IncompatibleSchema,
    RegistryUnavailable,
    SchemaRegistry,
    UnknownSchema,
)
from streamflow.sdk.errors import SchemaError

ONE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
TWO = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "int", "default": 0}],
    }
)
THREE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "c", "type": "int"}]})


class Stub(ThreadingHTTPServer):
    """Answers as a registry does, out of a FileRegistry; counts what it was asked."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.registry = FileRegistry(folder)
        self.asked: list[str] = []
        self.seen: list[str | None] = []
        self.broken = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "schemas":
            self.reply(lambda r: {"schema": r.by_id(int(parts[2]))})
        else:
            self.reply(lambda r: dict(zip(("id", "version", "schema"), r.latest(parts[1]), strict=True)))

    def do_POST(self) -> None:
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        parts = self.path.strip("/").split("/")
        if parts[0] == "compatibility":
            self.reply(lambda r: {"is_compatible": r.is_compatible(parts[2], schema)})
        else:
            self.reply(lambda r: {"id": r.register(parts[1], schema)})

    def reply(self, answer: Any) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.seen.append(self.headers["Authorization"])
        status, body = 200, b""
        try:
            body = json.dumps(answer(self.server.registry)).encode()
        except UnknownSchema as error:
            status, body = 404, json.dumps({"error_code": 40403, "message": str(error)}).encode()
        except IncompatibleSchema as error:
            status, body = 409, json.dumps({"error_code": 409, "message": str(error)}).encode()
        except SchemaError as error:
            status, body = 422, json.dumps({"error_code": 42201, "message": str(error)}).encode()
        if self.server.broken:
            status, body = 503, self.server.broken.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with Stub(tmp_path / "server") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["file", "http"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SchemaRegistry]:
    if request.param == "file":
        yield FileRegistry(tmp_path / "schemas")
        return
    client = HttpRegistry(request.getfixturevalue("stub").url)
    yield client
    client.close()


def test_a_schema_has_one_id(registry: SchemaRegistry) -> None:
    first = registry.register("t-value", ONE)
    assert registry.register("t-value", ONE) == first
    second = registry.register("t-value", TWO)
    assert second != first
    assert json.loads(registry.by_id(first)) == json.loads(ONE)
    schema_id, version, text = registry.latest("t-value")
    assert (schema_id, version, json.loads(text)) == (second, 2, json.loads(TWO))
    assert registry.register("other-value", ONE) == first


def test_what_is_not_there_is_unknown(registry: SchemaRegistry) -> None:
    with pytest.raises(UnknownSchema):
        registry.by_id(77)
    with pytest.raises(UnknownSchema):
        registry.latest("nothing")
    with pytest.raises(UnknownSchema):
        registry.by_fingerprint(bytes(8))


def test_a_version_must_read_the_one_before(registry: SchemaRegistry) -> None:
    registry.register("t-value", ONE)
    assert registry.is_compatible("t-value", TWO)
    assert not registry.is_compatible("t-value", THREE)
    assert registry.is_compatible("new-value", THREE)
    with pytest.raises(IncompatibleSchema):
        registry.register("t-value", THREE)
    with pytest.raises(SchemaError):
        registry.register("t-value", '{"type": "nonsense"}')


def test_a_folder_keeps_everything(tmp_path: Path) -> None:
    first = FileRegistry(tmp_path).register("t-value", ONE)
    FileRegistry(tmp_path).register("t-value", TWO)
    again = FileRegistry(tmp_path)
    assert json.loads(again.by_id(first)) == json.loads(ONE)
    assert json.loads((tmp_path / "t-value.avsc").read_text()) == json.loads(TWO)
    assert json.loads(again.by_fingerprint(rabin(json.loads(ONE)))) == json.loads(ONE)
    with pytest.raises(SchemaError, match="subject"):
        again.register("../escape", ONE)


def test_registering_at_once_gives_ids_once(tmp_path: Path) -> None:
    def register(i: int) -> int:
        schema = json.dumps({"type": "record", "name": f"R{i % 4}", "fields": []})
        return FileRegistry(tmp_path).register(f"s{i % 4}-value", schema)

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(register, range(32)))
    assert sorted(set(ids)) == [1, 2, 3, 4]
    assert all(len({ids[i] for i in range(32) if i % 4 == k}) == 1 for k in range(4))


def test_ids_are_asked_for_once(stub: Stub) -> None:
    schema_id = stub.registry.register("t-value", ONE)
    client = HttpRegistry(stub.url, username="u", password="p")
    for _ in range(3):
        assert json.loads(client.by_id(schema_id)) == json.loads(ONE)
        assert client.register("t-value", ONE) == schema_id
    client.close()
    assert stub.asked == [f"GET /schemas/ids/{schema_id}", "POST /subjects/t-value/versions"]
    assert stub.seen == ["Basic dTpw"] * 2


def test_a_registry_that_is_ill_is_not_an_unknown_schema(stub: Stub) -> None:
    client = HttpRegistry(stub.url, token="secret")
    stub.broken = "overloaded"
    with pytest.raises(RegistryUnavailable, match="503"):
        client.by_id(1)
    client.close()
    assert stub.seen == ["Bearer secret"]
    gone = HttpRegistry("http://127.0.0.1:1", timeout_ms=500)
    with pytest.raises(RegistryUnavailable):
        gone.latest("t-value")
    gone.close()
