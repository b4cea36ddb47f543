"""Schema registries, as one import: a folder of .avsc files (the default), or a server with Confluent's REST API."""

from __future__ import annotations

from streamflow.codecs.registry_api import IncompatibleSchema, RegistryUnavailable, SchemaRegistry, UnknownSchema
from streamflow.codecs.registry_file import FileRegistry
from streamflow.codecs.registry_http import HttpRegistry

__all__ = [
    "FileRegistry",
    "HttpRegistry",
    "IncompatibleSchema",
    "RegistryUnavailable",
    "SchemaRegistry",
    "UnknownSchema",
]
