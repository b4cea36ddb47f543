"""Client of a schema registry server with Confluent's REST API (Confluent, Karapace, Apicurio in its ccompat mode).

httpx is imported where it is used: it takes longer to load than all codecs together, and most runs have no server.
API: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from streamflow.codecs.registry_api import IncompatibleSchema, RegistryUnavailable, UnknownSchema
from streamflow.sdk.errors import SchemaError

if TYPE_CHECKING:
    import httpx

TIMEOUT_MS: Final = 10_000
CACHE_MAX: Final = 10_000
RESPONSE_BYTES_MAX: Final = 4 << 20
_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class HttpRegistry:
    """A `SchemaRegistry` behind a URL. Answers that cannot change (ids) are kept; others are asked each time.

    `username` and `password`: basic authentication; `token`: a bearer token. `client` replaces the connection, such
    as one with a client certificate; it is not closed here.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
        timeout_ms: int = TIMEOUT_MS,
        client: httpx.Client | None = None,
    ) -> None:
        import httpx

        headers = {"Accept": f"{_TYPE}, application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        auth = httpx.BasicAuth(username, password) if username else None
        self._url = url.rstrip("/")
        self._own = client is None
        self._client = client or httpx.Client(timeout=timeout_ms / 1000, headers=headers, auth=auth, trust_env=False)
        self._by_id: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        if self._own:
            self._client.close()

    def register(self, subject: str, schema: str) -> int:
        with self._lock:
            known = self._ids.get((subject, schema))
        if known is not None:
            return known
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": schema})
        schema_id = _number(answer, "id")
        with self._lock:
            _bounded(self._ids)[subject, schema] = schema_id
            _bounded(self._by_id)[schema_id] = schema
        return schema_id

    def by_id(self, schema_id: int) -> str:
        with self._lock:
            known = self._by_id.get(schema_id)
        if known is not None:
            return known
        answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer.get("schemaType", "AVRO") != "AVRO":
            raise UnknownSchema(f"{self._url}: schema {schema_id} is {answer['schemaType']}, not Avro.")
        if answer.get("references"):
            raise UnknownSchema(f"{self._url}: schema {schema_id} refers to other subjects, which is not supported.")
        schema = _text(answer, "schema")
        with self._lock:
            _bounded(self._by_id)[schema_id] = schema
        return schema

    def by_fingerprint(self, fingerprint: bytes) -> str:
        raise UnknownSchema(f"{self._url}: this API knows no fingerprints; {fingerprint.hex()} cannot be looked up.")

    def latest(self, subject: str) -> tuple[int, int, str]:
        answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/latest")
        return _number(answer, "id"), _number(answer, "version"), _text(answer, "schema")

    def is_compatible(self, subject: str, schema: str) -> bool:
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions/latest"
        try:
            return bool(self._ask("POST", path, {"schema": schema}).get("is_compatible"))
        except UnknownSchema:  # a subject without versions takes any
            return True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        import httpx

        content = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": _TYPE} if content else {}
        try:
            response = self._client.request(method, self._url + path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise RegistryUnavailable(f"{self._url}: {type(error).__name__}: {error}.") from error
        if len(response.content) > RESPONSE_BYTES_MAX:
            raise RegistryUnavailable(f"{self._url}{path}: an answer of {len(response.content)} bytes.")
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        said = answer.get("message", "") if isinstance(answer, dict) else response.text[:200]
        status, what = response.status_code, f"{self._url}{path}: HTTP {response.status_code}: {said}"
        if status == httpx.codes.NOT_FOUND and isinstance(answer, dict) and "error_code" in answer:
            raise UnknownSchema(f"{what}.")
        if status == httpx.codes.CONFLICT:
            raise IncompatibleSchema(f"{what}.", mend="Give new fields a default, or use another subject.")
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            raise SchemaError(f"{what}.")
        if status != httpx.codes.OK or not isinstance(answer, dict):
            raise RegistryUnavailable(f"{what}.")
        return answer


def _bounded(cache: dict[Any, Any]) -> dict[Any, Any]:
    if len(cache) >= CACHE_MAX:
        cache.clear()
    return cache


def _number(answer: Mapping[str, Any], name: str) -> int:
    value = answer.get(name)
    if not isinstance(value, int):
        raise RegistryUnavailable(f"the registry's answer has no number `{name}`.")
    return value


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise RegistryUnavailable(f"the registry's answer has no text `{name}`.")
    return value
