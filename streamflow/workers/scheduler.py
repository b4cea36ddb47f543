"""What one process may use, and how the workflows in it share that: threads that compute, and what tasks hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType

from streamflow.model.policies import HELD_BYTES_MAX, HELD_EXECUTIONS_MAX
from streamflow.workers.budget import Part, SharedBudget
from streamflow.workers.pool import Pool, PoolExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process."""

    threads: int | None = None  # None: one a core, at least 2
    held_bytes_max: int = HELD_BYTES_MAX  # read or made, and not committed
    held_executions_max: int = HELD_EXECUTIONS_MAX  # begun, and not committed


@dataclass(frozen=True, slots=True)
class Share:
    """What the tasks of one workflow have of a process."""

    executor: PoolExecutor
    budget: Part


class Scheduler:
    """Use it in a `with`, on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._pool = Pool(limits.threads or max(2, os.cpu_count() or 2))
        self._budget = SharedBudget(bytes_max=limits.held_bytes_max, executions_max=limits.held_executions_max)
        self._shares: dict[str, Share] = {}

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.close()

    def share(self, workflow: str, weight: int) -> Share:
        """What a workflow has; it joins with its weight."""
        made = Share(self._pool.executor(workflow, weight), self._budget.part(workflow, weight))
        self._shares[workflow] = made
        return made

    def figures(self) -> dict[str, float]:
        """Of the whole process: what is used, what may be, and how long it was waited for."""
        budget = self._budget
        shares = list(self._shares.values())
        return {
            "threads": self._pool.threads,
            "held_bytes": budget.bytes_used,
            "held_bytes_peak": budget.bytes_peak,
            "held_bytes_max": budget.bytes_max,
            "held_executions": budget.executions_used,
            "held_executions_peak": budget.executions_peak,
            "held_executions_max": budget.executions_max,
            "tasks_waiting": budget.waiting,
            **_sum([_waited(share) for share in shares]),
        }

    def figures_of(self, workflow: str) -> dict[str, float]:
        """What one workflow had."""
        return _waited(self._shares[workflow])


def _waited(share: Share) -> dict[str, float]:
    pool, waits = share.executor.figures, share.budget.waits
    return {
        "waits_for_budget": waits.count,
        "waited_for_budget_s": round(waits.seconds, 4),
        "waited_for_thread_s": round(pool.waited_s, 4),
        "compute_s": round(pool.compute_s, 4),
        "jobs": pool.jobs,
    }


def _sum(parts: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(sum(part[key] for part in parts), 4) for key in (parts[0] if parts else {})}
