"""Client of a schema registry server with Confluent's REST API (Confluent, Karapace, Apicurio in its ccompat mode).

API: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from streamflow.codecs.registry_api import IncompatibleSchema, RegistryUnavailable, UnknownSchema
from streamflow.codecs.registry_options import RegistryOptions, parsed_url
from streamflow.sdk.errors import SchemaError

CACHE_MAX: Final = 10_000
RESPONSE_BYTES_MAX: Final = 4 << 20
PAUSE_MS: Final = 100  # before the first retry
_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_PASSING: Final = {429, 500, 502, 503, 504}  # overloaded, restarting, electing a leader
_NOT_FOUND: Final = {40401, 40402, 40403}  # subject, version, schema; another 404 means that this is no registry
_INVALID_SCHEMA: Final = {42201}
_REFUSED: Final = {401, 403}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class HttpRegistry:
    """A `SchemaRegistry` behind a URL. Answers that cannot change (ids) are kept; others are asked each time.

    Options come from `options`, else from the environment (see `RegistryOptions`). A request is repeated when the
    registry is away or ill, since asking twice does no more than asking once; `pause` waits in between, in seconds.

    Raises RegistryUnavailable when the address is none, UsageError when the options do not fit.
    """

    def __init__(
        self, url: str, *, options: RegistryOptions | None = None, pause: Callable[[float], None] = time.sleep
    ) -> None:
        parsed = parsed_url(url)
        self._url = str(parsed).rstrip("/")
        options = (options or RegistryOptions.make()).for_url(parsed)
        self._retries_max, self._pause = options.retries_max, pause
        headers = {"Accept": f"{_TYPE}, application/json"}
        if token := options.token.get_secret_value():
            headers["Authorization"] = f"Bearer {token}"
        auth = httpx.BasicAuth(options.username, options.password.get_secret_value()) if options.username else None
        self._client = httpx.Client(
            timeout=options.timeout_ms / 1000,
            headers=headers,
            auth=auth,
            trust_env=False,
            # Without TLS there is nothing to verify, and the system's authorities take a while to read.
            verify=options.ssl_context() if parsed.scheme == "https" else False,
        )
        self._by_id: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def register(self, subject: str, schema: str) -> int:
        with self._lock:
            known = self._ids.get((subject, schema))
        if known is not None:
            return known
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": schema})
        schema_id = self._number(answer, "id")
        with self._lock:
            _bounded(self._ids)[subject, schema] = schema_id
            _bounded(self._by_id)[schema_id] = schema
        return schema_id

    def by_id(self, schema_id: int) -> str:
        with self._lock:
            known = self._by_id.get(schema_id)
        if known is not None:
            return known
        schema = self._avro(self._ask("GET", f"/schemas/ids/{schema_id}"), f"schema {schema_id}")
        with self._lock:
            _bounded(self._by_id)[schema_id] = schema
        return schema

    def by_fingerprint(self, fingerprint: bytes) -> str:
        raise UnknownSchema(f"{self._url}: this API knows no fingerprints; {fingerprint.hex()} cannot be looked up.")

    def latest(self, subject: str) -> tuple[int, int, str]:
        answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/latest")
        schema = self._avro(answer, f"the newest schema of {subject}")
        return self._number(answer, "id"), self._number(answer, "version"), schema

    def is_compatible(self, subject: str, schema: str) -> bool:
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions/latest"
        try:
            return bool(self._ask("POST", path, {"schema": schema}).get("is_compatible"))
        except UnknownSchema:  # a subject without versions takes any
            return True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._answer(method, path, None if body is None else orjson.dumps(body))
        found = _document(answer.body)
        said = str(found.get("message", "")) if found else answer.body[:200].decode(errors="replace")
        what, error_code = f"{self._url}{path}: HTTP {answer.status}: {said}.", found.get("error_code")
        if answer.status == httpx.codes.OK and found:
            return found
        if error_code in _NOT_FOUND:
            raise UnknownSchema(what)
        if answer.status == httpx.codes.CONFLICT:
            raise IncompatibleSchema(what, mend="Give new fields a default, or use another subject.")
        if error_code in _INVALID_SCHEMA:
            raise SchemaError(what)
        if answer.status in _REFUSED:
            raise RegistryUnavailable(
                what, mend="Set STREAMFLOW_REGISTRY_URL, and _USERNAME and _PASSWORD, or _TOKEN, for this registry."
            )
        raise RegistryUnavailable(what)

    def _answer(self, method: str, path: str, content: bytes | None) -> _Answer:
        """The last answer of `1 + retries_max` tries."""
        for left in reversed(range(1 + self._retries_max)):
            try:
                answer = self._once(method, path, content)
                if answer.status not in _PASSING or not left:
                    return answer
            except httpx.HTTPError as error:
                mend = _mend(error)
                if mend or not left:
                    why = f"{self._url}: {type(error).__name__}: {str(error).rstrip('.')}."
                    raise RegistryUnavailable(why, mend=mend) from error
            self._pause(PAUSE_MS / 1000 * 2 ** (self._retries_max - left))
        raise AssertionError  # the last try returns or raises

    def _once(self, method: str, path: str, content: bytes | None) -> _Answer:
        """One request. The answer is read piece by piece: a small one may unpack to more than there is memory."""
        headers = {"Content-Type": _TYPE} if content else {}
        with self._client.stream(method, self._url + path, content=content, headers=headers) as response:
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > RESPONSE_BYTES_MAX:
                    raise RegistryUnavailable(f"{self._url}{path}: an answer of more than {RESPONSE_BYTES_MAX} bytes.")
        return _Answer(response.status_code, body)

    def _avro(self, answer: Mapping[str, Any], what: str) -> str:
        kind = answer.get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise UnknownSchema(f"{self._url}: {what} is {kind}, not Avro.")
        if answer.get("references"):
            raise UnknownSchema(
                f"{self._url}: {what} refers to other subjects, which is not supported.",
                mend="Register it with what it refers to inside.",
            )
        value = answer.get("schema")
        if not isinstance(value, str):
            raise RegistryUnavailable(f"{self._url}: the answer about {what} has no text `schema`.")
        return value

    def _number(self, answer: Mapping[str, Any], name: str) -> int:
        value = answer.get(name)
        if type(value) is not int:
            raise RegistryUnavailable(f"{self._url}: an answer has no number `{name}`.")
        return value


def _document(body: bytes) -> dict[str, Any]:
    """The JSON object in an answer; empty if it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _mend(error: BaseException) -> str:
    """What to do about an error that another try would not mend: one of us does not trust the other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "Set STREAMFLOW_REGISTRY_SSL_CAFILE to the authority that signed its certificate."
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return "Set STREAMFLOW_REGISTRY_URL, _SSL_CERTFILE and _SSL_KEYFILE, for this registry."
        cause = cause.__cause__ or cause.__context__
    return ""


def _bounded(cache: dict[Any, Any]) -> dict[Any, Any]:
    if len(cache) >= CACHE_MAX:
        cache.clear()
    return cache
