"""The stores that come with streamflow, under the conformance suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamflow.state.memory import MemoryStore
from streamflow.state.rocks import STORES_MAX, RocksStore
from streamflow.state.rocks_folder import RocksFolder
from streamflow.testing.state_conformance import MakeStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda: MemoryStore("test")


class TestRocksStore(StoreConformance):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        """Neighbours in one database, so that a store that saw another's entries would be found out."""
        left: list[RocksStore] = []
        made: list[RocksFolder] = []

        def make() -> RocksStore:
            if not left:
                folder = RocksFolder(tmp_path / str(len(made)), b"test")
                left.extend(RocksStore("test", folder, number) for number in range(STORES_MAX))
                folder.open()
                made.append(folder)
            return left.pop()

        yield make
        for folder in made:
            folder.close()
