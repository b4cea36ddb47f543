"""README and CONTRIBUTING speak of what there is: commands, options and files exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from streamflow.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_the_readmes_commands_are_commands() -> None:
    shown = re.findall(r"^\$ (?:.*\| )?(streamflow .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(shown) > 9
    for line in shown:
        words, command = shlex.split(line)[1:], typer.main.get_command(app)
        while words and words[0] in (commands := getattr(command, "commands", {})):
            command = commands[words.pop(0)]
        assert not hasattr(command, "commands"), line
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_scripts_commands_are_explained() -> None:
    commands = re.findall(r"^([a-z]+)\)", (ROOT / "dev").read_text(), re.MULTILINE)
    assert {"setup", "demo", "test", "check", "bench", "soak", "kafka", "clean"} == set(commands)
    for command in commands:
        assert re.search(rf"^  {command} ", (ROOT / "dev").read_text(), re.MULTILINE), command
