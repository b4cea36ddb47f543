"""`./dev` itself, in a copy beside fakes of python and uv: what it says, what it installs, when it does nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Answers what ./dev asks of .venv/bin/python and writes down every installation with what uv would be told.
PYTHON = """#!/bin/sh
case "$*" in
*"pip config list"*) cat "{home}/pip.conf" ;;
*"-m pip install"*" uv") cp "{home}/uv" "{home}/.venv/bin/uv" ;;
*"-m pip install"*) echo "pip" >>"{home}/done" ;;
esac
"""
UV = r"""#!/bin/sh
[ ! -e "{home}/no-uv" ] || exit 1
echo "uv index=${{UV_DEFAULT_INDEX-}} more=${{UV_INDEX-}}" \
    "links=${{UV_FIND_LINKS-}} wait=${{UV_HTTP_TIMEOUT-}}" >>"{home}/done"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "dev", tmp_path / "dev")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "pip.conf").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for path, text in ((tmp_path / ".venv" / "bin" / "python", PYTHON), (tmp_path / "uv", UV)):
        path.write_text(text.format(home=tmp_path))
        path.chmod(0o755)
    return tmp_path


def dev(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "PYTHON"))}
    return subprocess.run(
        [home / "dev", *arguments], env=plain | environment, capture_output=True, text=True, check=False, timeout=60
    )


def done(home: Path) -> list[str]:
    return (home / "done").read_text().splitlines() if (home / "done").exists() else []


def test_setup_installs_once_and_again_when_the_project_changed(home: Path) -> None:
    first = dev(home, "setup")
    assert (first.returncode, first.stdout, len(done(home))) == (0, "", 1)
    assert (dev(home, "setup").stderr, len(done(home))) == ("", 1)
    (home / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert dev(home, "setup").returncode == 0
    assert len(done(home)) == 2


def test_a_failed_setup_is_not_taken_for_a_done_one(home: Path) -> None:
    (home / "no-uv").touch()
    (home / "done").mkdir()  # nothing can be written there: the fake pip fails as well
    assert dev(home, "setup").returncode != 0
    (home / "done").rmdir()
    assert dev(home, "setup").returncode == 0
    assert done(home) == ["pip"]


def test_pip_installs_where_uv_cannot(home: Path) -> None:
    (home / "no-uv").touch()
    told = dev(home, "setup")
    assert (told.returncode, done(home)) == (0, ["pip"])
    assert "trying pip" in told.stderr


def test_what_is_configured_for_pip_counts_for_uv(home: Path) -> None:
    (home / "wheels").mkdir()
    (home / "pip.conf").write_text(
        ":env:.index-url='https://mirror.example/simple'\nglobal.index-url='https://older.example/simple'\n"
        f"global.find-links='{home}/wheels'\nglobal.extra-index-url='https://second.example/simple'\n"
        "global.default-timeout='180'\n"
    )
    assert dev(home, "setup").returncode == 0
    assert done(home) == [
        f"uv index=https://mirror.example/simple more=https://second.example/simple links={home}/wheels wait=180"
    ]


def test_what_is_configured_for_uv_wins_and_missing_wheels_are_passed_over(home: Path) -> None:
    (home / "pip.conf").write_text("global.index-url='https://mirror.example/simple'\nglobal.find-links='/nowhere/w'\n")
    assert dev(home, "setup", UV_DEFAULT_INDEX="https://mine.example/simple").returncode == 0
    assert done(home) == ["uv index=https://mine.example/simple more= links= wait="]


def test_an_old_python_is_refused_before_anything_is_made(home: Path) -> None:
    shutil.rmtree(home / ".venv")
    old = home / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    told = dev(home, "setup", PYTHON=str(old))
    assert told.returncode == 1
    assert "streamflow needs Python 3.11 or newer; found: Python 3.9.2." in told.stderr
    assert not (home / ".venv").exists()


def test_a_python_without_venv_is_told_how_to_get_it(home: Path) -> None:
    shutil.rmtree(home / ".venv")
    bare = home / "bare-python"
    bare.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n')
    bare.chmod(0o755)
    told = dev(home, "setup", PYTHON=str(bare))
    assert told.returncode == 1
    assert "apt-get install python3-venv" in told.stderr


def test_usage(home: Path) -> None:
    assert dev(home, "help").stdout.startswith("usage: ./dev COMMAND")
    assert (dev(home).returncode, dev(home, "tset").returncode) == (2, 2)
    assert "no command 'tset'" in dev(home, "tset").stderr


def test_the_scripts_are_executable() -> None:
    for name in ("dev", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
