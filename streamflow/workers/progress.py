"""What a worker tells about itself: totals since its start, and how a run ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamflow.sdk.errors import Stopped


@dataclass(slots=True, kw_only=True)
class Progress:
    """Totals since the start."""

    seconds: float = 0.0
    rows_in: int = 0
    rows_out: int = 0
    dead: int = 0
    commits: int = 0
    lag: int = 0
    stages: dict[str, int] = field(default_factory=dict)  # stage -> rows in
    tasks: int = 0  # that run now
    restoring: int = 0  # offsets of changelogs that tasks have to read before they begin
    restored: int = 0  # offsets of changelogs that tasks have read before they began
    standbys: int = 0  # of tasks that run elsewhere, kept here
    standby_lag: int = 0  # offsets of changelogs that they have yet to read
    first_s: float = 0.0  # by the machine's monotonic clock: the first record was taken
    last_s: float = 0.0  # and the last commit ended
    cpu_s: float = 0.0  # CPU time between them
    idle: bool = False  # all inputs of the topology are read to their end, and that is committed
    steps: dict[str, int] = field(default_factory=dict)  # by rows that they took: "1", "2", "4", … and less than twice
    spent_s: dict[str, float] = field(default_factory=dict)  # by node, and by what tasks do beside: see `runtime.spent`
    scheduler: dict[str, float] = field(default_factory=dict)  # see `Scheduler.figures`; of several processes the sum

    def add(self, other: Progress) -> None:
        """Take another worker's totals in; seconds are those of the longest."""
        self.seconds = max(self.seconds, other.seconds)
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.dead += other.dead
        self.commits += other.commits
        self.lag += other.lag
        self.tasks += other.tasks
        self.restoring += other.restoring
        self.restored += other.restored
        self.standbys += other.standbys
        self.standby_lag += other.standby_lag
        self.first_s = min(self.first_s or other.first_s, other.first_s or self.first_s)
        self.last_s = max(self.last_s, other.last_s)
        self.cpu_s += other.cpu_s
        for name, figure in other.scheduler.items():
            self.scheduler[name] = round(self.scheduler.get(name, 0) + figure, 4)
        for size, steps in other.steps.items():
            self.steps[size] = self.steps.get(size, 0) + steps
        for what, seconds in other.spent_s.items():
            self.spent_s[what] = round(self.spent_s.get(what, 0) + seconds, 4)
        for stage, rows in other.stages.items():
            self.stages[stage] = self.stages.get(stage, 0) + rows


@dataclass(slots=True, kw_only=True)
class RunReport:
    """How a run ended."""

    progress: Progress
    halted: Stopped | None = None


def summed(parts: Iterable[Progress]) -> Progress:
    """Totals of several workers; idle when all are."""
    total, known = Progress(), list(parts)
    for part in known:
        total.add(part)
    total.idle = bool(known) and all(part.idle for part in known)
    return total
