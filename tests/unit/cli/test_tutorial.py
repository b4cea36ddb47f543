"""The tutorial's commands really run, in its order, with the output it shows.

STREAMFLOW_UPDATE_GOLDEN=1 writes the output anew; then read the difference.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app

PAGE = Path(__file__).parents[3] / "docs" / "tutorial.md"
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))
BLOCK = re.compile(
    r"(?:^<!-- (?P<what>file|exit) (?P<of>\S+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
# What differs from run to run or between machines; what is left must be equal.
VARYING = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"#[0-9a-f]{32}/", "#EPOCH/"),
    (r"\d+\.\d+ s, [\d,]+ records/s, \d+ commits?", "SECONDS, RATE, COMMITS"),
    (r"\d+ commits?, ", "COMMITS, "),
    (r"(plan) [0-9a-f]{16}", r"\1 DIGEST"),
    (r"(?m)^(ok|warning) +(Python|polars|Java|disk): .*$", r"\2"),
    (r"\d+ records; the last", "RECORDS; the last"),
    (r"(?m)^ *\d+\.\d s +[\d,]+ in .*\n", ""),  # the progress that a slow machine shows
    (r"(?m)^(shop\.placed\.(?:journal|ledger) +\d+ +)\d+$", r"\1RECORDS"),
]


class Command(NamedTuple):
    line: str
    expected: str
    code: int  # of the block's commands some one has this exit code, the others 0


def commands(block: re.Match[str]) -> Iterator[Command]:
    code = int(block["of"]) if block["what"] == "exit" else 0
    for part in re.split(r"^\$ ", block["text"], flags=re.M)[1:]:
        line, _, expected = part.partition("\n")
        yield Command(line, expected, code)


def run(line: str) -> tuple[int, str]:
    """Exit code and output. Plain calls run in this process, which is quicker; the others in a shell."""
    words = shlex.split(line)
    if words[0] == "streamflow" and not set(line) & set("|<>*;&$"):
        result = CliRunner().invoke(app, words[1:])
        return result.exit_code, result.output
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def plain(text: str) -> str:
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return text


def matches(shown: str, got: str) -> bool:
    """Equal but for what varies; a line `…` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^…\n", plain(shown), flags=re.M)]
    return re.fullmatch("(?:.*\n)*?".join(parts), plain(got)) is not None


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    ran, codes = [], []
    for block in BLOCK.finditer(page):
        if block["what"] == "file":
            Path(block["of"]).write_text(block["text"], encoding="utf-8")
        if block["kind"] != "console":
            continue
        shown = block["text"]
        for command in commands(block):
            code, out = run(command.line)
            ran.append(command.line)
            codes.append((code, command.code))
            assert code in (0, command.code), f"{command.line}: exit {code}\n{out}"
            if UPDATE and "…\n" not in command.expected:
                shown = shown.replace(f"$ {command.line}\n{command.expected}", f"$ {command.line}\n{out}", 1)
            elif not UPDATE:
                told = f"$ {command.line}\n{plain(out)}\nbut the tutorial shows\n{plain(command.expected)}"
                assert matches(command.expected, out), told
        page = page.replace(block[0], block[0].replace(block["text"], shown), 1)
    if UPDATE:
        PAGE.write_text(page, encoding="utf-8")
    assert (1, 1) in codes, "the block that shows an error has one"
    for word in ("init", "check", "test", "plan", "send", "run", "tail", "lag", "audit", "dlq list", "dlq show"):
        assert any(f"streamflow {word}" in line for line in ran), word
    for word in ("dlq redrive", "reset", "doctor", "topics"):
        assert any(f"streamflow {word}" in line for line in ran), word


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [t for t in targets if not (PAGE.parent / t).exists()] == []
