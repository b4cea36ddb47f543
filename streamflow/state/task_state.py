"""All stores of one task: in memory, or in one database on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from streamflow.sdk.state import TransactionalStore
from streamflow.state.memory import MemoryStore

StoreName = tuple[str, str]  # node, store


class TaskState(Protocol):
    """Opened when the task has fenced its predecessor, closed when it ends; it may be opened again."""

    @property
    def stores(self) -> Mapping[StoreName, TransactionalStore]: ...

    def open(self) -> None:
        """Stores are then at what was kept of them; see `TransactionalStore.changelog_offset`.

        Raises StateBusy, StateError.
        """
        ...

    def mend(self) -> None:
        """Where an error was met (StateBroken), begin the stores anew, empty."""
        ...

    def discard(self, why: str) -> None:
        """Begin all stores anew, empty."""
        ...

    def as_of_ms(self, name: StoreName) -> int:
        """When a store was last known to hold all of its changelog (ms since 1970); 0: nothing was kept."""
        ...

    def caught_up(self, name: StoreName, now_ms: int) -> None:
        """A store misses no deletion that its changelog has now: it is at its end, or at its beginning."""
        ...

    def close(self) -> None:
        """Harmless when it is not open."""
        ...


class MemoryState:
    """Stores that begin empty."""

    def __init__(self, names: Iterable[StoreName]) -> None:
        self._stores = {name: MemoryStore("/".join(name)) for name in names}
        self._as_of_ms: dict[StoreName, int] = {}

    @property
    def stores(self) -> Mapping[StoreName, TransactionalStore]:
        return self._stores

    def open(self) -> None:
        """They are open."""

    def mend(self) -> None:
        """Memory does not break."""

    def discard(self, why: str) -> None:
        for store in self._stores.values():
            store.clear()
        self._as_of_ms.clear()

    def as_of_ms(self, name: StoreName) -> int:
        return self._as_of_ms.get(name, 0)

    def caught_up(self, name: StoreName, now_ms: int) -> None:
        self._as_of_ms[name] = now_ms

    def close(self) -> None:
        """The memory goes with the task."""


class RocksState:
    """Stores in one database below `folder`; `binding`: see `RocksFolder`."""

    def __init__(self, names: Iterable[StoreName], folder: Path, binding: bytes) -> None:
        from streamflow.state.rocks import RocksStore  # which loads a native library
        from streamflow.state.rocks_folder import RocksFolder

        self._folder = RocksFolder(folder, binding)
        self._stores = {name: RocksStore("/".join(name), self._folder, n) for n, name in enumerate(sorted(names))}

    @property
    def stores(self) -> Mapping[StoreName, TransactionalStore]:
        return self._stores

    def open(self) -> None:
        self._folder.open()

    def mend(self) -> None:
        self._folder.mend()

    def discard(self, why: str) -> None:
        self._folder.discard(why)

    def as_of_ms(self, name: StoreName) -> int:
        return self._stores[name].as_of_ms

    def caught_up(self, name: StoreName, now_ms: int) -> None:
        self._stores[name].caught_up(now_ms)

    def close(self) -> None:
        self._folder.close()


def folder_of(root: Path, *parts: str) -> Path:
    """A task's folder below `root`; names may hold any character."""
    return root.joinpath(*(quote(part, safe=" ").replace(".", "%2E") for part in parts))
