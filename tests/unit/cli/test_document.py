"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.cli import document

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert document.main(["--check"]) == 0, "run: python -m streamflow.cli.document --write"


def test_it_has_every_command_and_option() -> None:
    page = document.render()
    for command in ("init", "check", "run", "send", "tail", "dlq list", "dlq show", "dlq redrive", "dev kafka"):
        assert f"\n## streamflow {command}\n" in page
    assert "| `--from` `WHERE` |" in page
    assert "`exactly_once` or `at_least_once`" in page


def test_check_and_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    assert document.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert document.main(["--write"]) == 0
    assert document.main(["--check"]) == 0
    assert document.main([]) == 2
