"""What does a rebalance move, what does it cost the leader, and how large are the messages?

1,000 tasks of a stage on 50 workers, and 10,000 on 500. The assignor and the messages are the real ones, the group is
the simulated one of tests/simulation/groups.py: no broker is asked and one round is one generation. Counts and bytes
are the same on any machine; `assign_s` is CPU of the leader on this one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.simulation.groups import Group

HERE = Path(__file__).parent
SIZES = ((1_000, 50, 1), (1_000, 50, 4), (1_000, 50, 10), (10_000, 500, 1))  # tasks of a stage, workers, stages
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "in memory, a standby": {"standbys": 1},
    "on disk, a standby": {"standbys": 1, "on_disk": True},
}
_ROLLED_MAX = 60  # workers of which a rolling restart is computed whole
_SUMMED = ("moved", "moved_min", "cold", "cold_min", "standbys_moved")
Figures = dict[str, Any]


def events(tasks: int, workers: int, stages: int, **kind: Any) -> dict[str, Figures]:
    """Each event on the group that the one before left; standbys catch up between two."""
    group = Group({f"shop-orders.stage-{stage:02d}.ledger": tasks for stage in range(stages)}, fences=False, **kind)
    names = [f"w{i}" for i in range(workers)]
    five = names[20:25]
    found: dict[str, Figures] = {}

    def then(event: str, change: Callable[[str], object], machines: list[str]) -> Figures:
        for machine in machines:
            change(machine)
        moves = asdict(group.rebalance())
        group.catch_up()
        return found.setdefault(event, {"rounds": 1, **moves})

    then("all begin", group.join, names)
    then("nothing changed", group.join, [])
    then("one leaves or crashes", group.leave, ["w7"])
    then("it comes back", group.join, ["w7"])
    then("five crash at once", group.leave, five)
    then("they come back", group.join, five)
    then("one more joins", group.join, ["new"])
    then("one freezes", group.freeze, ["w8"])
    then("and goes on", group.thaw, ["w8"])
    if stages == 1 and workers <= _ROLLED_MAX:
        rows = []
        for name in names:
            for change in (group.leave, group.join):
                change(name)
                rows.append(asdict(group.rebalance()))
                group.catch_up()
        rolled = {name: (sum if name in _SUMMED else max)(row[name] for row in rows) for name in rows[0]}
        found["rolling restart of all"] = {"rounds": len(rows), **rolled}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rebalance.json")
    args = parser.parse_args()
    report: Figures = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)},
        "groups": [],
    }
    for tasks, workers, stages in SIZES:
        for state, kind in KINDS.items():
            found = events(tasks, workers, stages, **kind)
            report["groups"].append(
                {"tasks": tasks, "workers": workers, "stages": stages, "state": state, "events": found}
            )
            print(f"{tasks} tasks of each of {stages} stages on {workers} workers, state {state}")
            for event, row in found.items():
                print(f"  {event}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
