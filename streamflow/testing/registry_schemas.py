"""What a schema registry keeps and how it answers: subjects, versions, ids, compatibility; paths as in Confluent's API.

API: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.codecs.evolution import check
from streamflow.sdk.errors import SchemaError

LEVELS: Final = ("NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")
_ROUTES: Final = (
    ("GET", r"/schemas/ids/(?P<schema_id>\d+)", "by_id"),
    ("GET", r"/subjects", "list"),
    ("POST", r"/subjects/(?P<subject>[^/]+)", "look_up"),
    ("GET", r"/subjects/(?P<subject>[^/]+)/versions", "versions"),
    ("POST", r"/subjects/(?P<subject>[^/]+)/versions", "register"),
    ("GET", r"/subjects/(?P<subject>[^/]+)/versions/(?P<version>[^/]+)", "version"),
    ("POST", r"/compatibility/subjects/(?P<subject>[^/]+)/versions/(?P<version>[^/]+)", "compatibility"),
    ("GET", r"/config(?:/(?P<subject>[^/]+))?", "config"),
    ("PUT", r"/config(?:/(?P<subject>[^/]+))?", "set_config"),
)


class ApiError(Exception):
    """An answer that is an error: `code` is the API's error code, `status` its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        self.status = code if code < 1000 else code // 100
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class _Schema:
    """`parsed` is what makes two schemas the same; None for one that is not Avro. `more`: other fields of answers."""

    text: str
    parsed: Any
    more: dict[str, Any]


class Schemas:
    """A registry's content. Thread-safe."""

    def __init__(self) -> None:
        self._ids: list[_Schema] = []  # id 1 is the first
        self._subjects: dict[str, list[int]] = {}  # ids of versions 1, 2, …
        self._levels: dict[str, str] = {}  # "" is the level of all others
        self._lock = threading.Lock()

    def ask(self, method: str, path: str, body: bytes) -> Any:
        """The answer to a request, as a JSON value. Raises ApiError."""
        for wanted, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, path.partition("?")[0].rstrip("/"))
            if wanted == method and found:
                arguments: dict[str, Any] = {key: unquote(value or "") for key, value in found.groupdict().items()}
                if method != "GET":
                    arguments["body"] = _object(body)
                answer: Callable[..., Any] = getattr(self, f"_{name}")
                with self._lock:
                    return answer(**arguments)
        raise ApiError(404, "HTTP 404 Not Found")

    def add(self, subject: str, schema: str) -> int:
        """The id of a schema, registered under a subject. Raises ApiError."""
        with self._lock:
            return int(self._register(subject, {"schema": schema})["id"])

    def add_foreign(self, subject: str, text: str, **more: Any) -> int:
        """The id of a schema that no one checks: `schemaType`, `references` and what else answers are to carry."""
        with self._lock:
            return self._append(subject, _Schema(text, None, more))

    def _by_id(self, schema_id: str) -> Any:
        if not 1 <= int(schema_id) <= len(self._ids):
            raise ApiError(40403, f"Schema {schema_id} not found")
        schema = self._ids[int(schema_id) - 1]
        return {"schema": schema.text, **schema.more}

    def _list(self) -> Any:
        return sorted(self._subjects)

    def _versions(self, subject: str) -> Any:
        return list(range(1, len(self._known(subject)) + 1))

    def _version(self, subject: str, version: str) -> Any:
        ids = self._known(subject)
        number = _number(version, len(ids))
        schema = self._ids[ids[number - 1] - 1]
        return {"subject": subject, "version": number, "id": ids[number - 1], "schema": schema.text, **schema.more}

    def _look_up(self, subject: str, body: dict[str, Any]) -> Any:
        ids, wanted = self._known(subject), _avro(body)
        for number, schema_id in enumerate(ids, 1):
            if self._ids[schema_id - 1].parsed == wanted.parsed:
                return {"subject": subject, "version": number, "id": schema_id, "schema": wanted.text}
        raise ApiError(40403, "Schema not found")

    def _register(self, subject: str, body: dict[str, Any]) -> Any:
        schema, ids = _avro(body), self._subjects.get(subject, [])
        for schema_id in ids:
            if self._ids[schema_id - 1].parsed == schema.parsed:
                return {"id": schema_id}
        problems = self._problems(subject, schema, ids)
        if problems:
            raise ApiError(409, f"Schema being registered is incompatible with an earlier schema: {problems}")
        return {"id": self._append(subject, schema)}

    def _compatibility(self, subject: str, version: str, body: dict[str, Any]) -> Any:
        ids, schema = self._known(subject), _avro(body)
        against = [ids[_number(version, len(ids)) - 1]]
        return {"is_compatible": not self._problems(subject, schema, against)}

    def _config(self, subject: str) -> Any:
        if subject and subject not in self._levels:
            raise ApiError(40408, f"Subject '{subject}' does not have subject-level compatibility configured")
        return {"compatibilityLevel": self._levels.get(subject, "BACKWARD")}

    def _set_config(self, subject: str, body: dict[str, Any]) -> Any:
        level = body.get("compatibility")
        if level not in LEVELS:
            raise ApiError(42203, f"Invalid compatibility level {level}")
        self._levels[subject] = level
        return {"compatibility": level}

    def _known(self, subject: str) -> list[int]:
        if subject not in self._subjects:
            raise ApiError(40401, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _append(self, subject: str, schema: _Schema) -> int:
        same = (i for i, one in enumerate(self._ids, 1) if schema.parsed is not None and one.parsed == schema.parsed)
        schema_id = next(same, 0)
        if not schema_id:
            self._ids.append(schema)
            schema_id = len(self._ids)
        self._subjects.setdefault(subject, []).append(schema_id)
        return schema_id

    def _problems(self, subject: str, schema: _Schema, ids: list[int]) -> list[str]:
        """Why a schema may not follow the given ones, by the subject's compatibility level."""
        level = self._levels.get(subject, self._levels.get("", "BACKWARD"))
        against = [self._ids[i - 1].parsed for i in (ids if level.endswith("_TRANSITIVE") else ids[-1:])]
        new, problems = schema_from_avro(schema.parsed), list[str]()
        for old in (schema_from_avro(one) for one in against if one is not None):
            if level.startswith(("BACKWARD", "FULL")):
                problems += check(old, new)
            if level.startswith(("FORWARD", "FULL")):
                problems += check(new, old)
        return problems


def _avro(body: dict[str, Any]) -> _Schema:
    text = body.get("schema")
    if not isinstance(text, str) or not text:
        raise ApiError(42201, "Empty schema")
    try:
        schema_from_avro(text)
        return _Schema(text, orjson.loads(text), {})
    except (SchemaError, orjson.JSONDecodeError) as error:
        raise ApiError(42201, f"Invalid schema {text[:200]}: {error}") from error


def _number(version: str, newest: int) -> int:
    if version in ("latest", "-1"):
        return newest
    if not version.isdigit() or int(version) < 1:
        raise ApiError(42202, f"The specified version '{version}' is not a valid version id.")
    if int(version) > newest:
        raise ApiError(40402, f"Version {version} not found.")
    return int(version)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"Unable to process JSON: {error}") from error
    if not isinstance(found, dict):
        raise ApiError(400, "Unable to process JSON: not an object")
    return found
