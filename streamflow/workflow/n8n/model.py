"""An export of n8n as plain data: its nodes, its wires, and what else it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value of an export that knows where it stands. What is not there reads as None, at its place.

    `seen`, where it is given, takes the paths of all values that were looked at.
    """

    raw: object
    path: str = ""
    seen: set[str] | None = field(default=None, compare=False)

    def __getitem__(self, key: str) -> Value:
        inner = self.raw.get(key) if isinstance(self.raw, Mapping) else None
        path = f"{self.path}.{key}" if self.path else key
        if self.seen is not None:
            self.seen.add(path)
        return Value(inner, path, self.seen)

    def __iter__(self) -> Iterator[Value]:
        """Elements of a list; nothing of anything else."""
        if isinstance(self.raw, list):
            for at, inner in enumerate(self.raw):
                yield Value(inner, f"{self.path}[{at}]", self.seen)

    def __bool__(self) -> bool:
        return bool(self.raw)

    def text(self, default: str = "") -> str:
        """The text; of anything else than text, the default."""
        return self.raw if isinstance(self.raw, str) else default

    def number(self, default: float) -> float:
        if isinstance(self.raw, bool) or not isinstance(self.raw, int | float):
            return default
        return self.raw

    def unseen(self) -> list[str]:
        """Paths of what is here, and among its `options`, that was not looked at and says something."""
        seen = self.seen or set()
        made: list[str] = []
        for key, value in self.raw.items() if isinstance(self.raw, Mapping) else ():
            path = f"{self.path}.{key}"
            if path not in seen and value not in (None, "", [], {}, False):
                made.append(path)
            elif key == "options":
                made += Value(value, path, seen).unseen()
        return made

    @property
    def is_expression(self) -> bool:
        return isinstance(self.raw, str) and self.raw.startswith("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class N8nNode:
    """A node of an export. `index` is its number in the list of nodes: its identity, since names may repeat."""

    index: int
    name: str
    type: str  # without the package of n8n's own nodes: `if`, `httpRequest`; others whole
    full_type: str
    version: float = 1
    parameters: Value = field(default_factory=lambda: Value({}, "parameters"))
    credentials: Mapping[str, str] = field(default_factory=dict)
    position: tuple[float, float] | None = None
    notes: str = ""
    disabled: bool = False
    on_error: str = ""  # continueErrorOutput, continueRegularOutput, stopWorkflow
    always_output: bool = False
    execute_once: bool = False
    retry: bool = False
    tries: int = 3
    wait_ms: int = 1000

    @property
    def place(self) -> str:
        return f"nodes[{self.index}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class N8nWire:
    """A connection of an export, from the n-th output of a type to the n-th input. None: its end names no node."""

    index: int
    source: int | None
    source_name: str
    output: int
    type: str  # main, or ai_… of what belongs to another node
    target: int | None
    target_name: str
    input: int
    place: str

    def __str__(self) -> str:
        return f"{self.source_name!r} [{self.type} {self.output}] -> {self.target_name!r} [{self.input}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One workflow of n8n. `unreadable`: places in it that hold no node or no connection, and what they hold."""

    name: str
    nodes: tuple[N8nNode, ...]
    wires: tuple[N8nWire, ...]
    outputs: Mapping[int, int] = field(default_factory=dict)  # node -> how many main outputs its connections list
    pinned: Mapping[str, Sequence[object]] = field(default_factory=dict)  # node name -> items
    settings: Mapping[str, object] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()
