"""Paths of a sub-flow in another folder: they begin where its file stands, and in the plan where the workflow stands.

Schemas, files that are written and files of addresses; functions are named by module, which no folder changes.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from streamflow.compiler.graph import Graph
from streamflow.compiler.schemas import SchemaLoader
from streamflow.nodes.notification import Notification
from streamflow.nodes.write_file import WriteFile
from streamflow.sdk.node import Node, SchemaRef
from streamflow.workflow import WorkflowDocument

_PATHS: Mapping[type[Node], str] = {WriteFile: "path", Notification: "url_file"}


def brought(graph: Graph, inner: WorkflowDocument, top: Path, registry: str = "") -> Graph:
    """The graph of a file with its paths told from folder `top`; the graph itself where both stand in one folder.
    `registry`: of the workflow, which a file that names none has as well.
    """
    folder = Path(inner.base_folder or ".")
    if folder.resolve() == top.resolve():
        return graph
    here = SchemaLoader(folder, inner.registry or _seen_from(folder, top, registry))
    move = _Move(folder, top, here, SchemaLoader(top, registry))
    return dataclasses.replace(
        graph, nodes={name: dataclasses.replace(node, node=move.node(node.node)) for name, node in graph.nodes.items()}
    )


def _seen_from(folder: Path, top: Path, registry: str) -> str:
    """A registry of `top` as a file in `folder` has to name it."""
    if not registry or "://" in registry:
        return registry
    return os.path.relpath((top / registry).resolve(), folder.resolve())


@dataclasses.dataclass(frozen=True, slots=True)
class _Move:
    folder: Path
    top: Path
    here: SchemaLoader  # where the file looks for schemas
    there: SchemaLoader  # where the workflow does

    def node(self, node: Node) -> Node:
        moved: Node = self._changed(node)
        name = next((name for kind, name in _PATHS.items() if isinstance(node, kind)), "")
        written = getattr(node, name) if name else None
        if written and not PurePath(written).is_absolute():
            path = self._told(self.folder) / written
            moved = dataclasses.replace(moved, **{name: path.as_posix()})  # type: ignore[type-var]
        return moved

    def _changed(self, value: Any) -> Any:
        """`value` itself where nothing in it changes."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            refs = _schema_fields(type(value))
            old = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            new = {n: self._schema(v) if n in refs and v is not None else self._changed(v) for n, v in old.items()}
            same = all(new[name] is old[name] for name in new)
            return value if same else dataclasses.replace(value, **new)
        if isinstance(value, Mapping):
            mapping = {k: self._changed(v) for k, v in value.items()}
            return value if all(mapping[k] is v for k, v in value.items()) else mapping
        if isinstance(value, tuple):
            items = tuple(self._changed(v) for v in value)
            return value if all(a is b for a, b in zip(items, value, strict=True)) else items
        return value

    def _schema(self, ref: str) -> str:
        """A schema as the workflow has to name it, so that it is the one that the file means."""
        found = self.here.file_of(ref)
        other = self.there.file_of(ref)
        if found is None:
            # A subject of a registry stays. What is nowhere, or only there, must not become a file that the workflow
            # happens to have.
            subject = other is None and self.here.registry.startswith(("http://", "https://"))
            return ref if subject else str(self._told(self.folder) / ref)
        if other is not None and other.resolve() == found.resolve():
            return ref
        return str(self._told(found.parent) / found.name)

    def _told(self, folder: Path) -> Path:
        """A folder from the workflow's."""
        return Path(os.path.relpath(folder.resolve(), self.top.resolve()))


@cache
def _schema_fields(kind: type) -> frozenset[str]:
    hints = typing.get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if SchemaRef in (hint, *typing.get_args(hint)))
