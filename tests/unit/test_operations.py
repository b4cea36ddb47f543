"""docs/operations names every setting with its default, and nothing that is not there."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from streamflow.cli.main import app
from streamflow.codecs.registry_options import RegistryOptions
from streamflow.logs import KafkaOptions
from streamflow.sdk import errors

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/operations/kafka.md").read_text()
TELLS_IN_WORDS = {"ssl_cafile", "replication_factor"}  # the default is not one value


def rows(prefix: str) -> dict[str, str]:
    """Default by setting, as the table with this prefix has them."""
    table = TEXT.split(f"| `{prefix}…` |")[1].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        names, default, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        for name in re.findall(r"`([A-Z_]+)`", names):
            found[name.lower()] = default.strip("`")
    return found


@pytest.mark.parametrize(
    ("prefix", "options"), [("STREAMFLOW_KAFKA_", KafkaOptions), ("STREAMFLOW_REGISTRY_", RegistryOptions)]
)
def test_every_setting_is_there_with_its_default(prefix: str, options: type[BaseSettings]) -> None:
    assert options.model_config["env_prefix"] == prefix
    told = rows(prefix)
    assert set(told) == set(options.model_fields)
    for name, field in options.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        if name not in TELLS_IN_WORDS:
            wanted = (
                "" if default in (None, "") else str(default).lower() if isinstance(default, bool) else str(default)
            )
            assert told[name] == wanted, name


def test_commands_codes_and_files_exist() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    named = set(re.findall(r"`streamflow ([a-z]+)", TEXT))
    assert named <= commands | groups, named - commands - groups
    sources = "".join(path.read_text() for path in (ROOT / "streamflow").rglob("*.py"))
    for code in set(re.findall(r"SF\d{3}", TEXT)):
        assert f'code = "{code}"' in sources, code
    for event in ("assigned", "rebalance", "task_runs", "fenced", "task_restarts"):
        assert f'"{event}"' in sources, event
    for path in re.findall(r"`(docs/[a-z/]+)`", TEXT):
        assert (ROOT / path).exists(), path
    assert errors.OffsetOutOfRange.code == "SF501"
