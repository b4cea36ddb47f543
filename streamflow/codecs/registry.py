"""Schema registries, as one import: a folder of .avsc files (the default), or a server with Confluent's REST API.

The client of a server is loaded when it is asked for: with its HTTP library it takes longer to load than all codecs
together, and most runs have no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamflow.codecs.registry_api import IncompatibleSchema, RegistryUnavailable, SchemaRegistry, UnknownSchema
from streamflow.codecs.registry_file import FileRegistry

if TYPE_CHECKING:
    from streamflow.codecs.registry_http import HttpRegistry

__all__ = [
    "FileRegistry",
    "HttpRegistry",
    "IncompatibleSchema",
    "RegistryUnavailable",
    "SchemaRegistry",
    "UnknownSchema",
]


def __getattr__(name: str) -> object:
    if name == "HttpRegistry":
        from streamflow.codecs.registry_http import HttpRegistry

        return HttpRegistry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
