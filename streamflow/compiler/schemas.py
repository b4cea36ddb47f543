"""Finds the schemas that nodes name: files beside the workflow, then the project's `schemas/`, then the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.codecs.registry import UnknownSchema
from streamflow.compiler.codes import SCHEMA_UNKNOWN
from streamflow.model.types import Schema
from streamflow.sdk.errors import CodecError, SchemaError
from streamflow.sdk.params import nearest

SCHEMA_BYTES_MAX = 4 << 20
_PARENTS_MAX = 16
_LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """Why a schema could not be loaded."""

    message: str
    mend: str = ""
    code: str = SCHEMA_UNKNOWN


@dataclass(slots=True)
class SchemaLoader:
    """Loads each schema once; `loaded` is what the plan carries, so that a worker needs no files."""

    folder: Path  # the workflow's
    registry: str = ""  # folder or URL; "" is `schemas` beside the workflow
    loaded: dict[str, Schema] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # Avro JSON of what was loaded, as its owner wrote it
    _missing: dict[str, NotFound] = field(default_factory=dict)

    def load(self, ref: str) -> Schema | NotFound:
        """The schema that a node names by file or subject."""
        if ref not in self.loaded and ref not in self._missing:
            try:
                self._take(ref, self._find(ref))
            except (OSError, UnicodeDecodeError) as error:
                self._missing[ref] = NotFound(message=f"schema {ref!r} cannot be read: {error}.")
            except (UnknownSchema, _UnfitError) as error:
                self._missing[ref] = NotFound(message=error.message, mend=error.mend)
            except SchemaError as error:
                self._missing[ref] = NotFound(
                    message=f"schema {ref!r} is no Avro schema: {error.message}", mend=error.mend
                )
            except CodecError as error:
                self._missing[ref] = NotFound(message=f"schema {ref!r}: {error.message}", mend=error.mend)
        return self.loaded.get(ref) or self._missing[ref]

    def text_of(self, schema: Schema) -> str:
        """The Avro JSON that a loaded schema was written in; "" for schemas that were inferred."""
        return next((self.texts[ref] for ref, known in self.loaded.items() if known is schema), "")

    def file_of(self, ref: str) -> Path | None:
        """The file that a schema is in; None where none is."""
        return next((path for path in self._candidates(ref) if path.is_file()), None)

    def _take(self, ref: str, text: str) -> None:
        schema = schema_from_avro(text, what=ref)
        try:
            self.texts[ref] = orjson.dumps(orjson.loads(text)).decode()
        except orjson.JSONDecodeError as error:
            raise SchemaError(str(error)) from error
        self.loaded[ref] = schema

    def _find(self, ref: str) -> str:
        for path in self._candidates(ref):
            if path.is_file():
                if path.stat().st_size > SCHEMA_BYTES_MAX:
                    raise _UnfitError(f"schema {ref!r} has more than {SCHEMA_BYTES_MAX:,} bytes.")
                return path.read_text(encoding="utf-8")
        if self.registry.startswith(("http://", "https://")):
            from streamflow.codecs.registry import HttpRegistry  # with its HTTP library, only where there is a server

            registry = HttpRegistry(self.registry)
            try:
                return registry.latest(ref)[2]
            finally:
                registry.close()
        near = nearest(ref, self._known())
        mend = f"Did you mean {near!r}?" if near else "Put the file beside the workflow or into `schemas`."
        raise _UnfitError(f"there is no schema {ref!r}.", mend=mend)

    def _folders(self) -> Iterator[Path]:
        yield self.folder
        if self.registry and "://" not in self.registry:
            yield self.folder / self.registry
        folder = self.folder.absolute()
        for parent in [folder, *folder.parents][:_PARENTS_MAX]:
            yield parent / "schemas"

    def _candidates(self, ref: str) -> Iterator[Path]:
        for folder in self._folders():
            yield folder / ref
            if not ref.endswith(".avsc"):
                yield folder / f"{ref}.avsc"

    def _known(self) -> list[str]:
        names: list[str] = []
        for folder in self._folders():
            if folder.is_dir():
                names += sorted(p.name for p in folder.glob("*.avsc"))
        return list(dict.fromkeys(names))[:_LISTED_MAX]


class _UnfitError(SchemaError):
    """A schema that is not there, or not to be read."""
