"""A Faust app that runs a topology beside the agents its user adds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import faust

from streamflow.codecs.registry import SchemaRegistry
from streamflow.logs import open_log
from streamflow.logs.kafka import KafkaLog
from streamflow.model.policies import RunPolicy
from streamflow.runtime.build import Functions
from streamflow.sdk.errors import UsageError
from streamflow.sdk.events import Logger
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workers.faust.committed import read_committed
from streamflow.workers.faust.credentials import credentials
from streamflow.workers.faust.stages import StageAgents
from streamflow.workers.kafka import KafkaWorker
from streamflow.workers.progress import Progress, RunReport
from streamflow.workers.scheduler import Limits

_STOP_S_MAX = 30.0
_log = Logger(__name__)


class WorkflowApp(faust.App):
    """A Faust app with the tasks of a topology. Everything else is Faust's."""

    tasks: Tasks

    async def stop(self) -> None:
        """Commit what tasks have begun, while the agents are still there; then stop Faust, within 30 s."""
        await self.tasks.end()
        try:
            async with asyncio.timeout(_STOP_S_MAX):
                await super().stop()
        except TimeoutError:
            # Its consumer waits for ever when its thread ends under a call. Ours is committed by now.
            _log.warning("faust_did_not_stop", app=self.conf.id, waited_s=_STOP_S_MAX)

    async def on_started(self) -> None:
        # The agents are up. Faust's own group may still be waiting for a member that died: no reason to stand still.
        self.tasks.begin()
        self.add_future(self._supervise())
        await super().on_started()

    async def _supervise(self) -> None:
        try:
            await self.tasks.ended()
        except Exception as error:
            await self.crash(error)


def app(
    topology: Topology,
    log: str = "kafka://127.0.0.1:9092",
    *,
    nodes: NodeRegistry | None = None,
    functions: Functions | None = None,
    registry: SchemaRegistry | None = None,
    policy: RunPolicy | None = None,
    state_folder: str = "",
    limits: Limits | None = None,
    session_timeout_ms: int = 10_000,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> WorkflowApp:
    """A Faust app that runs `topology` on the cluster at `log`; add agents and timers of your own, then start it.

    Its id is `<workflow>.faust`: the group and the topics of Faust itself, which elect the leader. The tasks of the
    workflow belong to the group `<workflow>`, with as many other workers as there are. `settings` are Faust's and win
    over ours. When the app stops, tasks commit what they have begun. `app.conf` is not ours to change afterwards.

    Raises UsageError where `log` is no Kafka cluster.
    """
    opened = open_log(log)
    if not isinstance(opened, KafkaLog):
        raise UsageError(f"{log} is no Kafka cluster.", mend="Faust runs on Kafka; give kafka://HOST:PORT.")
    if nodes is None:
        from streamflow.nodes import registry as built_in

        nodes = built_in()
    chosen: dict[str, Any] = {
        "broker": [f"aiokafka://{server}" for server in opened.client_settings()["bootstrap_servers"]],
        "broker_credentials": credentials(opened.options),
        "store": "memory://",
        "web_enabled": False,
        "topic_partitions": 1,
        "stream_wait_empty": False,
        "broker_session_timeout": session_timeout_ms / 1000,
        "broker_heartbeat_interval": session_timeout_ms / 1000 / 5,
        **settings,
    }
    made = WorkflowApp(f"{topology.workflow}.faust", **chosen)
    read_committed(made)
    agents = StageAgents(made, topology, concurrency=None if limits is None else limits.threads)
    worker = KafkaWorker(
        topology, opened, nodes=nodes, functions=functions, registry=registry, policy=policy, limits=limits,
        state_folder=state_folder,
        session_timeout_ms=session_timeout_ms, on_progress=on_progress, turn=agents.turn,
    )  # fmt: skip
    made.tasks = Tasks(worker, opened)
    return made


class Tasks:
    """The tasks of a topology within an app."""

    def __init__(self, worker: KafkaWorker, log: KafkaLog) -> None:
        self._worker, self._log = worker, log
        self._job: asyncio.Task[RunReport] | None = None
        self.report: RunReport | None = None
        self.over = asyncio.Event()  # they have ended, by themselves or asked to

    def begin(self) -> None:
        """Start; the app's event loop runs."""
        self._job = asyncio.get_running_loop().create_task(self._run(), name="streamflow")

    async def _run(self) -> RunReport:
        await self._log.open()
        try:
            self.report = await self._worker.run()
            return self.report
        finally:
            await self._log.close()
            self.over.set()

    async def ended(self) -> RunReport:
        """Wait for the end. Raises what a task could not recover from."""
        assert self._job is not None, "begin() comes first"
        return await asyncio.shield(self._job)

    async def end(self) -> None:
        """Commit what was begun, and end."""
        self._worker.stop()
        if self._job is not None:
            await asyncio.wait([self._job])
