"""Registries: what a folder and a server do alike. What only a server does is in test_codec_registry_http.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamflow.codecs.avrotypes import rabin
from streamflow.codecs.registry import (
    FileRegistry,
    HttpRegistry,
    IncompatibleSchema,
    SchemaRegistry,
    UnknownSchema,
)
from streamflow.sdk.errors import SchemaError
from streamflow.testing.registry_stub import RegistryStub

ONE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
TWO = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "int", "default": 0}],
    }
)
THREE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "c", "type": "int"}]})


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with RegistryStub() as server:
        yield server


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
