"""The head survives a process that dies while it writes one of the two slots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamflow.logs.embedded import head as head_module
from streamflow.logs.embedded.head import Head, HeadFile

FIRST = Head(generation=1, journal=1, end=100, seq=5, chain=77)


def test_what_is_written_is_read_by_another_opening(tmp_path: Path) -> None:
    one, two = HeadFile(tmp_path / "head"), HeadFile(tmp_path / "head")
    assert two.read() is None
    assert two.generation() == 0
    one.write(FIRST, durable=False)
    assert two.read() == replace(FIRST, trusted=True)
    one.write(replace(FIRST, generation=2, end=200), durable=False)
    found = two.read()
    assert found is not None
    assert (found.generation, found.end, two.generation()) == (2, 200, 2)
    one.close()
    two.close()


@pytest.mark.parametrize("place", [64, 70, 100, 115])
def test_a_torn_slot_leaves_the_one_before(tmp_path: Path, place: int) -> None:
    file = HeadFile(tmp_path / "head")
    file.write(FIRST, durable=False)
    file.write(replace(FIRST, generation=2, end=200), durable=False)
    file.close()
    data = bytearray((tmp_path / "head").read_bytes())
    data[place] ^= 0xFF  # generation 2 lies in the first slot
    (tmp_path / "head").write_bytes(data)
    file = HeadFile(tmp_path / "head")
    assert file.read() == replace(FIRST, trusted=True)
    file.close()


def test_after_a_restart_only_a_synced_head_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for durable in (False, True):
        monkeypatch.undo()
        file = HeadFile(tmp_path / f"head-{durable}")
        file.write(FIRST, durable=durable)
        file.close()
        monkeypatch.setattr(head_module, "_boot", lambda: 12345)
        file = HeadFile(tmp_path / f"head-{durable}")
        assert file.read() == replace(FIRST, trusted=durable)
        file.close()
