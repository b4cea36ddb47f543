"""A real Apache Kafka broker for tests and for a laptop: one KRaft node, its data in a folder of yours.

`kafka_settings` has its settings, `kafka_security` the listeners that it can open beside its plain one.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streamflow.sdk.errors import UsageError
from streamflow.testing.kafka_artifacts import BrokerError, jars, java
from streamflow.testing.kafka_probe import serves
from streamflow.testing.kafka_security import CONTROLLER, PLAIN, Listener, format_arguments
from streamflow.testing.kafka_settings import broker_settings, properties
from streamflow.testing.ports import free_ports

START_TIMEOUT_S = 90  # 3 s on an idle laptop; a busy CI machine needs more
STOP_TIMEOUT_S = 30
START_TRIES_MAX = 3  # a free port can be taken by someone else before the broker binds it
_POLL_S = 0.05
_FIRST_COMPILER = ("-XX:TieredStopAtLevel=1",)


class KafkaServer:
    """One broker in its own process. `start` returns when it answers a metadata request.

    `data` keeps topics, offsets and transactions over `stop`, `kill` and a new start; its ports stay the same as long
    as this object lives. With `port` 0 a free one is chosen. `settings` are Kafka's own names and win over ours.
    `listeners` come on top of the plain one. Users of SCRAM listeners are made when the data folder is: they cannot
    be added to one that was used before. `short_lived`: the JVM does without its second compiler, which takes half of
    the CPU time of a broker that lives for minutes (and would pay off later).
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        heap_size_mb: int = 768,
        settings: Mapping[str, str] | None = None,
        listeners: Sequence[Listener] = (),
        short_lived: bool = False,
    ) -> None:
        self.data, self.host, self.port = data.absolute(), host, port
        self._heap_size_mb, self._settings, self._listeners = heap_size_mb, dict(settings or {}), tuple(listeners)
        self._compiler = list(_FIRST_COMPILER) if short_lived else []
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT, as clients want it. Port 0 before the first start, unless one was given."""
        return f"{self.host}:{self.port}"

    def bootstrap_of(self, listener: str) -> str:
        """HOST:PORT of a listener by its name, once the broker was started: its own port, not an advertised one."""
        return f"{self.host}:{self.port_of(listener)}"

    def port_of(self, listener: str) -> int:
        """The port of a listener by its name, once the broker was started."""
        if listener not in self._ports:
            raise UsageError(
                f"no listener {listener!r}; there are {sorted(self._ports)}.", mend="Name it when the server is made."
            )
        return self._ports[listener]

    @property
    def address(self) -> str:
        """What `--log` takes."""
        return f"kafka://{self.bootstrap}"

    @property
    def log_file(self) -> Path:
        """What the broker itself says."""
        return self.data / "broker.log"

    @property
    def pid(self) -> int | None:
        """The broker's process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the broker and return when it serves.

        Raises:
            BrokerError: Java or the jars are missing, the port is taken, or the broker gave up.
        """
        if self.pid is not None:
            return
        command = [java(), "-cp", f"{jars()}/*"]
        self.data.mkdir(parents=True, exist_ok=True)
        port_is_ours_to_choose = self.port == 0
        for left in reversed(range(START_TRIES_MAX)):
            self._choose_ports(anew=port_is_ours_to_choose)
            written = self._write_properties()
            self._format(command, written)
            try:
                self._launch(command, written)
            except BrokerError:
                if left and port_is_ours_to_choose and "Address already in use" in self._log_tail():
                    continue
                raise
            return

    def stop(self) -> None:
        """Stop it in order (SIGTERM), so that the next start needs no recovery. Harmless when it does not run."""
        if self._process is None:
            return
        self.resume()  # who is paused hears no SIGTERM
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it stand still (SIGSTOP): connections stay open, nothing is answered, as in a long stop of its JVM.

        It stands still when this returns.
        """
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `pause`. Harmless when it does not run, or was not paused."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again on the same port and data."""
        self.stop()
        self.start()

    def wait(self) -> int:
        """Return the broker's exit code once it ended by itself."""
        if self._process is None:
            return 0
        return self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _choose_ports(self, *, anew: bool) -> None:
        """A free port for each listener that has none yet."""
        if anew:
            self.port, self._ports = 0, {}
        names = [PLAIN, CONTROLLER, *(listener.name for listener in self._listeners)]
        given = {PLAIN: self.port} if self.port else {}
        self._ports = dict(zip(names, free_ports(self.host, len(names)), strict=True)) | self._ports | given
        self.port = self._ports[PLAIN]

    def _write_properties(self) -> Path:
        path = self.data / "server.properties"
        path.touch(mode=0o600)  # there may be passwords in it
        settings = broker_settings(self.host, self._ports, self.data, self._listeners) | self._settings
        path.write_text(properties(settings), encoding="ascii")
        return path

    def _format(self, command: list[str], written: Path) -> None:
        if (self.data / "log" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):  # would be read as an option
            cluster = f"A{cluster[1:]}"
        done = subprocess.run(
            [*command, *_FIRST_COMPILER, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
             "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(written),
             *format_arguments(self._listeners)],
            capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise BrokerError(
                f"Kafka could not format {self.data}: {(done.stdout + done.stderr).strip()}",
                mend="Give it an empty folder that can be written.",
            )

    def _launch(self, command: list[str], written: Path) -> None:
        heap = [f"-Xms{min(256, self._heap_size_mb)}m", f"-Xmx{self._heap_size_mb}m", "-XX:MaxGCPauseMillis=20"]
        quiet = ["-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *heap, *self._compiler, *quiet, "kafka.Kafka", str(written)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C must reach us alone: we stop the broker in order
            )
        try:
            self._wait_until_it_serves(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_serves(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        cluster = self._cluster_id()
        while not serves(self.host, self.port, cluster):
            if process.poll() is not None:
                why = f"ended with exit code {process.returncode}"
            elif time.monotonic() > deadline:
                why = f"did not serve within {START_TIMEOUT_S} s"
            else:
                time.sleep(_POLL_S)
                continue
            raise BrokerError(
                f"the broker at {self.bootstrap} {why}; the end of {self.log_file} says:\n{self._log_tail()}\n",
                mend="Choose another port, or a data folder that no other broker uses.",
            )

    def _cluster_id(self) -> str:
        meta = (self.data / "log" / "meta.properties").read_text(encoding="utf-8")
        return next(line.partition("=")[2] for line in meta.splitlines() if line.startswith("cluster.id="))

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if not line.startswith(("\tat ", "\t... "))]
        return "\n".join(told[-12:])
