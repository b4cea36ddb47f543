"""Shows that the tests of DESIGN section 12 can fail: breaks the code in one place after the other, and runs them.

    .venv/bin/python -m tests.mutations.run [POINT …]

`POINT` is one of 12.1, 12.2, 12.4, 12.6, 12.8, 12.9, 12.11, 12.13; left out, all. Everything happens in a copy of the
tree. Exit 1 if a mutation survives, if the text that it replaces is gone, or if its tests fail on sound code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("streamflow", "tests", "schemas", "topologies", "pyproject.toml")
TIMEOUT_S = 600
_FAILED = re.compile(r"^FAILED (.+?)(?: - |$)", re.MULTILINE)


def main(points: Sequence[str]) -> int:
    """Exit code."""
    chosen = [m for m in MUTATIONS if not points or m.point in points]
    if not chosen:
        print(f"no mutation of {', '.join(points)}; there are {', '.join(dict.fromkeys(m.point for m in MUTATIONS))}")
        return 2
    with tempfile.TemporaryDirectory(prefix="streamflow-broken-") as folder:
        tree = Path(folder)
        for name in COPIED:
            copy(ROOT / name, tree / name)
        sound = pytest(tree, sorted({test for m in chosen for test in m.tests}))
        if sound.returncode:
            print(f"{sound.stdout}\nThese tests fail on sound code: nothing can be shown with them.")
            return 1
        print("| point | broken | test | failed as it must |\n|---|---|---|---|", flush=True)
        survived = [m for m in chosen if not caught(m, tree)]
    print(f"\n{len(chosen) - len(survived)} of {len(chosen)} noticed")
    return 1 if survived else 0


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def caught(mutation: Mutation, tree: Path) -> bool:
    """Apply a mutation, run its tests, take it back; prints its line."""
    file = tree / mutation.file
    text = file.read_text()
    started = time.monotonic()
    if text.count(mutation.old) != 1:
        test, verdict = mutation.tests[0], f"NO: its text occurs {text.count(mutation.old)} times in {mutation.file}"
    else:
        file.write_text(text.replace(mutation.old, mutation.new))
        try:
            done = pytest(tree, mutation.tests)
        finally:
            file.write_text(text)
        failed = _FAILED.findall(done.stdout)
        test = failed[0] if failed else mutation.tests[0]
        # 1 is "tests failed"; anything else means that they did not run.
        verdict = {1: "yes", 0: "NO: it survived"}.get(done.returncode, f"NO: pytest gave {done.returncode}")
    print(
        f"| {mutation.point} | {mutation.broken} | {test} | {verdict} ({time.monotonic() - started:.0f} s) |",
        flush=True,
    )
    if verdict.startswith("NO: pytest"):
        print(done.stdout[-2000:] + done.stderr[-2000:])
    return verdict == "yes"


def pytest(tree: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # No bytecode: two versions of a file may have the same size and second.
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "broken",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "--tb=line", "-rf", *tests]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
