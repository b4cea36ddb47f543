"""The stores that come with streamflow, under the conformance suite."""

import pytest

from streamflow.state.memory import MemoryStore
from streamflow.testing.state_conformance import MakeStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda: MemoryStore("test")
