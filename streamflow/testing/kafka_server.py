"""A real Apache Kafka broker for tests and for a laptop: one KRaft node, its data in a folder of yours.

The settings are those of a single node (internal topics with one replica) with nothing else bent: message sizes,
retention and transactions behave as they do on a cluster that was left at Kafka's defaults. Topics are never created
by asking for them, so that a misspelt name is an error.
"""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from streamflow.testing.kafka_artifacts import BrokerError, jars, java

START_TIMEOUT_S = 90  # 3 s on an idle laptop; a busy CI machine needs more
STOP_TIMEOUT_S = 30
START_TRIES_MAX = 3  # a free port can be taken by someone else before the broker binds it
_POLL_S = 0.05


class KafkaServer:
    """One broker in its own process. `start` returns when it answers a metadata request.

    `data` keeps topics, offsets and transactions over `stop`, `kill` and a new start; its port stays the same as long
    as this object lives. With `port` 0 a free one is chosen. `settings` are Kafka's own names and win over ours.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        heap_size_mb: int = 768,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data, self.host, self.port = data.absolute(), host, port
        self._heap_size_mb, self._settings = heap_size_mb, dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT, as clients want it. Port 0 before the first start, unless one was given."""
        return f"{self.host}:{self.port}"

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
            if port_is_ours_to_choose:
                self.port = _free_port(self.host)
            properties = self._write_properties(_free_port(self.host))
            self._format(command, properties)
            try:
                self._launch(command, properties)
            except BrokerError:
                if left and port_is_ours_to_choose and "Address already in use" in self._log_tail():
                    continue
                raise
            return

    def stop(self) -> None:
        """Stop it in order (SIGTERM), so that the next start needs no recovery. Harmless when it does not run."""
        if self._process is None:
            return
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

    def _write_properties(self, controller_port: int) -> Path:
        at, controller = f"{self.host}:{self.port}", f"{self.host}:{controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{at},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{at}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.data / "log"),
            "auto.create.topics.enable": "false",
            # One node has one replica; fewer internal partitions make the first group and transaction quick.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            # The only voter need not wait for others, and a killed broker's registration must not bar it for 9 s.
            "controller.quorum.election.timeout.ms": "100",
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
            "group.initial.rebalance.delay.ms": "0",  # nobody else is about to join
            "group.min.session.timeout.ms": "1000",  # tests of dead workers need not wait 6 s
            "log.cleaner.dedupe.buffer.size": str(16 << 20),  # the default takes 128 MB of the heap
            "log.index.size.max.bytes": str(1 << 20),  # preallocated twice per partition
        } | self._settings
        path = self.data / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        return path

    def _format(self, command: list[str], properties: Path) -> None:
        if (self.data / "log" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):  # would be read as an option
            cluster = f"A{cluster[1:]}"
        done = subprocess.run(
            [*command, "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
             "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)],
            capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise BrokerError(
                f"Kafka could not format {self.data}: {(done.stdout + done.stderr).strip()}",
                mend="Give it an empty folder that can be written.",
            )

    def _launch(self, command: list[str], properties: Path) -> None:
        heap = [f"-Xms{min(256, self._heap_size_mb)}m", f"-Xmx{self._heap_size_mb}m", "-XX:MaxGCPauseMillis=20"]
        quiet = ["-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *heap, *quiet, "kafka.Kafka", str(properties)],
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
        while not _serves(self.host, self.port, cluster):
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


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


# Metadata request, version 4: about no topic, and none to be created.
_METADATA_REQUEST = struct.pack(">hhih7si?", 3, 4, 1, 7, b"startup", 0, False)


def _serves(host: str, port: int, cluster_id: str) -> bool:
    """Whether this cluster's broker answers there and counts itself among the live ones (a fenced broker does not).

    Another broker may hold the port that ours wants: an answer from that one is none.
    """
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            with connection.makefile("rb") as answers:
                size = answers.read(4)
                answer = answers.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    except OSError:
        return False
    # correlation id, throttle time, then the array of live brokers; the cluster's id stands behind it
    return len(answer) >= 12 and struct.unpack_from(">i", answer, 8)[0] > 0 and cluster_id.encode() in answer
