"""A schema registry in a folder, for those who run no server: readable files, safe for several processes at once.

`<subject>.avsc` holds the newest version of a subject, for people and other tools; `registry.json` holds every
version ever registered, and is the truth. Both are replaced whole, never written in place. Compatibility is BACKWARD,
as a server's default: a new version must be able to read what the one before wrote.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from streamflow.codecs.avrotypes import rabin, schema_from_avro
from streamflow.codecs.evolution import check
from streamflow.codecs.registry_api import IncompatibleSchema, RegistryUnavailable, UnknownSchema
from streamflow.sdk.errors import SchemaError

INDEX: Final = "registry.json"
_SUBJECT = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")  # what a topic may be named, so no path can be built from it


class FileRegistry:
    """A `SchemaRegistry` over a folder, which is made when the first schema is registered."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self._entries: list[dict[str, Any]] = []
        self._stamp: tuple[int, int] = (0, 0)

    def register(self, subject: str, schema: str) -> int:
        if not _SUBJECT.match(subject) or subject in (".", ".."):
            raise SchemaError(f"{subject!r} is no subject.", mend="Use letters, digits, `.`, `_` and `-`.")
        parsed = _parsed(schema)
        known = self._find(subject, parsed)
        if known is not None:
            return known
        with self._locked():
            known = self._find(subject, parsed)  # another process may have been faster
            if known is not None:
                return known
            versions = [e for e in self._read() if e["subject"] == subject]
            problems = _problems(versions, parsed)
            if problems:
                raise IncompatibleSchema(
                    f"{subject}: the new schema cannot read what version {versions[-1]['version']} wrote: "
                    f"{'; '.join(problems)}.",
                    mend="Give new fields a default, or use another subject.",
                )
            same = next((e["id"] for e in self._entries if e["schema"] == parsed), None)
            schema_id: int = same or max((e["id"] for e in self._entries), default=0) + 1
            entry = {"id": schema_id, "subject": subject, "version": len(versions) + 1, "schema": parsed}
            self._write(self._folder / f"{subject}.avsc", parsed)
            self._write(self._folder / INDEX, [*self._entries, entry])
            self._read()
            return schema_id

    def by_id(self, schema_id: int) -> str:
        for entry in self._read():
            if entry["id"] == schema_id:
                return orjson.dumps(entry["schema"]).decode()
        raise UnknownSchema(f"{self._folder}: no schema has id {schema_id}.")

    def by_fingerprint(self, fingerprint: bytes) -> str:
        for entry in self._read():
            if rabin(entry["schema"]) == fingerprint:
                return orjson.dumps(entry["schema"]).decode()
        raise UnknownSchema(f"{self._folder}: no schema has fingerprint {fingerprint.hex()}.")

    def latest(self, subject: str) -> tuple[int, int, str]:
        versions = [e for e in self._read() if e["subject"] == subject]
        if not versions:
            raise UnknownSchema(f"{self._folder}: no subject {subject!r}.")
        newest = versions[-1]
        return newest["id"], newest["version"], orjson.dumps(newest["schema"]).decode()

    def is_compatible(self, subject: str, schema: str) -> bool:
        return not _problems([e for e in self._read() if e["subject"] == subject], _parsed(schema))

    def forget(self, subject: str) -> None:
        """Let a subject go with all its versions: the next schema under its name need not be able to read them.

        What an id means stays known, since values that were written with it may be kept somewhere.
        """
        with self._locked():
            if not any(e["subject"] == subject for e in self._read()):
                return
            nameless = {"subject": "", "version": 0}
            kept = [e | nameless if e["subject"] == subject else e for e in self._entries]
            self._write(self._folder / INDEX, kept)
            (self._folder / f"{subject}.avsc").unlink(missing_ok=True)
            self._read()

    def _find(self, subject: str, parsed: Any) -> int | None:
        return next((e["id"] for e in self._read() if e["subject"] == subject and e["schema"] == parsed), None)

    def _read(self) -> list[dict[str, Any]]:
        """All entries; the file is read again only when it was replaced."""
        path = self._folder / INDEX
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._entries, self._stamp = orjson.loads(path.read_bytes()), stamp
        except FileNotFoundError:
            self._entries, self._stamp = [], (0, 0)
        except (OSError, orjson.JSONDecodeError) as error:
            raise RegistryUnavailable(f"{path}: {error}.") from error
        return self._entries

    def _write(self, path: Path, content: Any) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            temporary.replace(path)
        except OSError as error:
            raise RegistryUnavailable(f"{path}: {error}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f".{INDEX}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise RegistryUnavailable(f"{self._folder}: {error}.") from error


def _parsed(schema: str) -> Any:
    schema_from_avro(schema)  # refuses what is no schema
    return orjson.loads(schema)


def _problems(versions: list[dict[str, Any]], schema: Any) -> list[str]:
    if not versions:
        return []
    return check(schema_from_avro(versions[-1]["schema"]), schema_from_avro(schema))
