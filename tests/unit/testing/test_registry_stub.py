"""The registry stub, asked as Confluent's own clients ask."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from streamflow.testing.registry_stub import RegistryStub

V1 = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}
V2 = {"type": "record", "name": "R", "fields": [*V1["fields"], {"name": "b", "type": "int", "default": 0}]}
V3 = {"type": "record", "name": "R", "fields": [{"name": "c", "type": "int"}]}


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with RegistryStub() as server:
        yield server


@pytest.fixture
def client(stub: RegistryStub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stub.url, trust_env=False) as client:
        yield client


def schema(of: Any) -> dict[str, str]:
    return {"schema": json.dumps(of)}


def test_subjects_versions_and_ids(client: httpx.Client) -> None:
    assert client.get("/subjects").json() == []
    assert client.post("/subjects/b/versions", json=schema(V1)).json() == {"id": 1}
    assert client.post("/subjects/b/versions", json=schema(V2)).json() == {"id": 2}
    assert client.post("/subjects/a/versions", json=schema(V2)).json() == {"id": 2}
    assert client.get("/subjects").json() == ["a", "b"]
    assert client.get("/subjects/b/versions").json() == [1, 2]
    newest = {"subject": "b", "version": 2, "id": 2, "schema": json.dumps(V2)}
    assert client.get("/subjects/b/versions/latest").json() == newest
    assert client.get("/subjects/b/versions/2").json() == newest
    assert client.post("/subjects/b", json=schema(V1)).json() == {
        "subject": "b", "version": 1, "id": 1, "schema": json.dumps(V1),
    }  # fmt: skip
    assert client.get("/schemas/ids/2?fetchMaxId=false").json() == {"schema": json.dumps(V2)}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [("GET", "/subjects/x/versions", None, 404, 40401), ("GET", "/subjects/x/versions/latest", None, 404, 40401),
     ("GET", "/subjects/t/versions/9", None, 404, 40402), ("GET", "/subjects/t/versions/zero", None, 422, 42202),
     ("GET", "/subjects/t/versions/0", None, 422, 42202), ("GET", "/schemas/ids/77", None, 404, 40403),
     ("POST", "/subjects/t", schema(V3), 404, 40403), ("POST", "/subjects/x", schema(V3), 404, 40401),
     ("POST", "/subjects/t/versions", schema(V3), 409, 409), ("POST", "/subjects/t/versions", {}, 422, 42201),
     ("POST", "/subjects/t/versions", {"schema": "nonsense"}, 422, 42201),
     ("POST", "/compatibility/subjects/x/versions/latest", schema(V1), 404, 40401),
     ("PUT", "/config", {"compatibility": "SIDEWAYS"}, 422, 42203), ("GET", "/config/t", None, 404, 40408),
     ("GET", "/nowhere", None, 404, 404), ("POST", "/subjects/t", [1], 400, 400)],
)  # fmt: skip
def test_errors_have_the_apis_codes(
    stub: RegistryStub, client: httpx.Client, method: str, path: str, body: Any, status: int, code: int
) -> None:
    stub.schemas.add("t", json.dumps(V1))
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("level", "fits"),
    [("NONE", [True, True, True]), ("BACKWARD", [True, True, False]), ("FORWARD", [True, True, False]),
     ("FULL_TRANSITIVE", [True, True, False])],
)  # fmt: skip
def test_compatibility_is_checked_at_the_subjects_level(client: httpx.Client, level: str, fits: list[bool]) -> None:
    assert client.get("/config").json() == {"compatibilityLevel": "BACKWARD"}
    assert client.put("/config/t", json={"compatibility": level}).json() == {"compatibility": level}
    assert client.get("/config/t").json() == {"compatibilityLevel": level}
    client.post("/subjects/t/versions", json=schema(V1))
    asked = [client.post("/compatibility/subjects/t/versions/latest", json=schema(v)).json() for v in (V1, V2, V3)]
    assert asked == [{"is_compatible": fit} for fit in fits]
    registered = [client.post("/subjects/t/versions", json=schema(v)).status_code == 200 for v in (V1, V2, V3)]
    assert registered == fits


def test_failures_come_in_their_order_and_end(stub: RegistryStub, client: httpx.Client) -> None:
    stub.fail("status", status=503, times=2)
    stub.fail("garbage")
    said = [client.get("/subjects") for _ in range(4)]
    assert [one.status_code for one in said] == [503, 503, 200, 200]
    assert said[0].json() == {"error_code": 50301, "message": "injected failure"}
    assert said[2].text.startswith("<html>")
    assert said[3].json() == []
    stub.fail("status", times=99)
    stub.heal()
    assert client.get("/subjects").json() == []
    assert stub.asked == ["GET /subjects"] * 5


def test_a_slow_answer_waits_until_it_may_go(stub: RegistryStub, client: httpx.Client) -> None:
    stub.fail("slow")
    with pytest.raises(httpx.ReadTimeout):
        client.get("/subjects", timeout=0.05)
    assert client.get("/subjects").json() == []  # others are not held up
    stub.fail("slow")
    stub.go_on()
    assert client.get("/subjects").json() == []
