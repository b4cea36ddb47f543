"""What every test has: where strictness comes from, how generated tests are seeded, a folder for a log."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings

from streamflow.sdk import events

# On CI nothing is skipped because a tool is missing: that would be a green run that proved less.
CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# `ci` (the default): the same examples in every run, so that a failure is a failure for everyone. `explore` draws new
# ones, many of them: HYPOTHESIS_PROFILE=explore ./dev test tests/property
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no finding
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, max_examples=2_000)
# For code that is broken on purpose: that a test fails is all one wants to know, not its smallest example.
settings.register_profile("broken", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A developer's own settings must not steer the tests.
for name in [name for name in os.environ if name.startswith("STREAMFLOW_")]:
    if name == "STREAMFLOW_UPDATE_GOLDEN":
        continue  # said to these tests
    del os.environ[name]

# Hundreds of processes are started by these tests; none of them shall compile the sources again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(Path(sys.prefix) / "pycache")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group: tests of one name run in one process")


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """A test that sets logs up does so for a stream that is closed behind it."""
    yield
    structlog.reset_defaults()
    events.prepare(0, lambda: None)


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    """Where an embedded log of this test's own may live; it does not exist yet."""
    return tmp_path / "log"
