"""Bytes meant to hurt: each is a bad record within a second and 200 MB, in a process that has no more.

Method: a child process decodes each case under an address space limit of 200 MB above what it needs at rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).with_name("hostile_child.py")


def test_hostile_values_are_bad_records_in_bounded_time_and_memory() -> None:
    run = subprocess.run([sys.executable, str(CHILD)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2_000:]
    results = json.loads(run.stdout)
    assert len(results) >= 20
    for name, outcome in results.items():
        assert outcome["bad"] == outcome["expected"], (name, outcome)
        assert outcome["seconds"] < 1.0, (name, outcome)  # a generous limit on an attack, not a measurement
