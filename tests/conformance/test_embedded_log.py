"""The embedded log under the conformance suite: as it is, with everything in segments, and synced."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from streamflow.logs import EmbeddedLog
from streamflow.sdk.log import Log
from streamflow.testing.log_conformance import LogConformance, MakeLog


class TestEmbeddedLog(LogConformance):
    supports_compaction_on_demand = True

    async def compact_now(self, log: Log) -> None:
        await cast("EmbeddedLog", log).run_maintenance(10_000)

    @pytest.fixture
    def make_log(self, tmp_path: Path) -> MakeLog:
        return lambda: EmbeddedLog(tmp_path / "log")


class TestWithACheckpointAfterEveryCommit(TestEmbeddedLog):
    """Everything is read from segments."""

    @pytest.fixture
    def make_log(self, tmp_path: Path) -> MakeLog:
        return lambda: EmbeddedLog(tmp_path / "log", journal_bytes_max=1)


class TestSynced(TestEmbeddedLog):
    @pytest.fixture
    def make_log(self, tmp_path: Path) -> MakeLog:
        return lambda: EmbeddedLog(tmp_path / "log", durability="fsync", compression="zstd")
