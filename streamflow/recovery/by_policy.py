"""The policy `recover`: failed executions are retried, resumed, rolled back or undone by themselves, after a while.

A worker does what the commands do, with their checks and their memory: what was given again is on the log, so that a
restart, or several workers at once, do nothing twice. Only how long a dead letter has waited is known to the worker
alone: one that is started anew counts from then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from streamflow.compiler.checkpoints import checkpoint_id
from streamflow.model.batch import PATH
from streamflow.operators.entered import travelling
from streamflow.recovery.recover import Recover
from streamflow.recovery.resuming import resumptions
from streamflow.recovery.retrying import retries
from streamflow.recovery.rolling_back import rollbacks
from streamflow.recovery.undoing import compensations
from streamflow.runtime.again_records import Again
from streamflow.runtime.dead_letter_log import pages
from streamflow.sdk.errors import Fenced, LogUnavailable
from streamflow.sdk.events import Logger

if TYPE_CHECKING:
    from streamflow.model.policies import RecoverPolicy
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.log import Log
    from streamflow.sdk.registry import NodeRegistry
    from streamflow.topology.plan import Topology

_AT_ONCE_MAX: Final = 1_000  # dead letters of one round
_log = Logger(__name__)


class ByPolicy:
    """Recovers executions of one workflow. Any number of them may be at work; use each on one event loop."""

    def __init__(
        self, topology: Topology, policy: RecoverPolicy, log: Log, nodes: NodeRegistry, *, clock_ms: Callable[[], int]
    ) -> None:
        self._topology, self._policy, self._nodes, self._clock_ms = topology, policy, nodes, clock_ms
        self._source = log
        self._waiting: dict[int, int] = {}  # dead letters by number, with when they were seen first
        self._position = 0
        self._lock = asyncio.Lock()

    async def round(self) -> int:
        """Give again what is due; how many items. Nothing is lost where another worker, or a command, takes over."""
        async with self._lock:
            try:
                return await self._round()
            except (Fenced, LogUnavailable):
                return 0

    async def _round(self) -> int:
        now_ms = self._clock_ms()
        async for page in pages(self._source, self._topology, self._position):
            for letter in page:
                if self._concerns(letter):
                    self._waiting[letter.position] = now_ms
                self._position = letter.position + 1
        due = [n for n, seen_ms in self._waiting.items() if seen_ms + self._policy.after_ms <= now_ms][:_AT_ONCE_MAX]
        if not due:
            return 0
        async with Recover(self._source, self._topology, dry_run=False) as work:
            work.only = frozenset(due)
            given = [one for one in await self._wanted(work) if self._may(work, one[1])]
            await work.write(given)
        for number in due:
            del self._waiting[number]
        for refused in work.refused:
            _log.warning("not_recovered", execution=refused.execution, why=refused.why)
        if given:
            _log.info("recovered", action=self._policy.action, items=len(given))
        return len(given)

    def _concerns(self, letter: DeadLetter) -> bool:
        codes, nodes = self._policy.codes, self._policy.nodes
        return (not codes or letter.code in codes) and (not nodes or letter.node in nodes)

    async def _wanted(self, work: Recover) -> list[tuple[int, Again]]:
        policy = self._policy
        if policy.action == "retry":
            return await retries(work, None)
        if policy.action == "resume":
            return await resumptions(work, None, self._nodes)
        if policy.action == "rollback":
            return await rollbacks(work, None, self._nodes, to=checkpoint_id(policy.to) if policy.to else None)
        return await compensations(work, [], all_failed=True)

    def _may(self, work: Recover, record: Again) -> bool:
        """Whether it was not given so often already: by its chain of retries, or by its node and place."""
        if record.action == "compensate":
            return True
        if record.action == "retry":
            of = {work.id_of(p, r): r.execution for p, r in work.given if r.action == "retry"}
            tries, execution = 0, record.execution
            while execution in of:
                tries, execution = tries + 1, of[execution]
            return tries < self._policy.attempts
        mine = _place(record)
        return sum(_place(r) == mine for _, r in work.given if r.action == record.action) < self._policy.attempts


def _place(record: Again) -> tuple[object, ...]:
    path = travelling(record.entered).get(PATH) if record.entered is not None else None
    return record.execution, record.node, path
