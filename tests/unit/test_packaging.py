"""Wheel and sdist: they build, install beside nothing of the repository, and hold what runs need."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import streamflow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamflow"

# Building twice would prove no more: every test of this file must run in the process that built.
pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both; the wheel is built from the sdist, which thereby proves complete."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it. Its dependencies are this environment's: they are not under test."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel, cwd=home)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    # A folder named in a .pth is searched last, and its own .pth files (our editable install) are not followed.
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_the_wheel_holds_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("streamflow/")}
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "streamflow = streamflow.cli.main:main" in archive.read(entry_points).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    ours = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert held == ours


def test_the_sdist_holds_what_a_distributor_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "dev", "tests/conftest.py"} <= names
    assert not {name for name in names if ".venv" in name or name.endswith(".pyc")}


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    code = "import streamflow; print(streamflow.__version__); print(streamflow.__file__)"
    version, where = run(installed / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert version == streamflow.__version__
    assert Path(where).is_relative_to(installed)
    assert "Usage: streamflow" in run(installed / "bin" / "streamflow", "--help", cwd=tmp_path)


def test_an_installed_streamflow_makes_a_workflow_and_checks_it(installed: Path, tmp_path: Path) -> None:
    """Node catalogue, loader and compiler, with no file of the repository in reach."""
    command = installed / "bin" / "streamflow"
    run(command, "init", "first", cwd=tmp_path)
    (document,) = tmp_path.rglob("*.yaml")
    run(command, "check", document, cwd=tmp_path)


def test_version_is_told_once() -> None:
    assert f'version = "{streamflow.__version__}"' in (ROOT / "pyproject.toml").read_text()
