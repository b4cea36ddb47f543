"""`streamflow dev kafka`: one line when it serves, topics that stay in the data folder, a clean stop when asked."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.testing.kafka_artifacts import BrokerError, java
from streamflow.testing.kafka_server import KafkaServer

COMMAND = [sys.executable, "-m", "streamflow.cli.main", "dev", "kafka"]
READY = re.compile(r"ready kafka://(127\.0\.0\.1:\d+)\n")


@contextmanager
def running(data: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a script would run it: (process, HOST:PORT from its ready line)."""
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = READY.fullmatch(process.stdout.readline())
        assert ready, process.communicate()[1]
        yield process, ready[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.usefixtures("needs_kafka")
def test_it_says_ready_serves_stops_and_keeps_its_topics(tmp_path: Path) -> None:
    for stop, known in ((signal.SIGTERM, set()), (signal.SIGINT, {"kept"})):
        with running(tmp_path, 0) as (process, bootstrap):
            admin = AdminClient({"bootstrap.servers": bootstrap})
            assert set(admin.list_topics(timeout=30).topics) == known
            if not known:
                admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result(timeout=30)
            process.send_signal(stop)
            rest, told = process.communicate(timeout=60)
            assert (process.returncode, rest) == (0, ""), told
        host, _, port = bootstrap.partition(":")
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port))):
            pass


def test_a_taken_port_is_one_clear_error(kafka: KafkaServer, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=rf"(?s){kafka.bootstrap} ended .*Choose another port") as error:
        KafkaServer(tmp_path, port=kafka.port).start()
    assert "Address already in use" in str(error.value)


def test_topics_survive_a_kill(kafka: KafkaServer, tmp_path: Path) -> None:
    with KafkaServer(tmp_path) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        admin.create_topics([NewTopic("kept", 2, 1)])["kept"].result(timeout=30)
        before = server.bootstrap
        server.kill()
        assert server.pid is None
        server.start()
        assert server.bootstrap == before
        assert len(admin.list_topics("kept", timeout=30).topics["kept"].partitions) == 2


@pytest.mark.parametrize(
    ("says", "fits"),
    [('openjdk version "17.0.15" 2025-04-15', True), ('openjdk version "21" 2023-09-19', True),
     ('java version "1.8.0_402"', False), ('openjdk version "11.0.2"', False), ("gibberish", False)],
)  # fmt: skip
def test_an_old_java_is_refused(says: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "java"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if fits:
        assert java() == str(fake)
    else:
        with pytest.raises(BrokerError, match="needs 17"):
            java()


def test_a_missing_java_is_an_error_with_its_mend(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--data", str(tmp_path / "data")],
        env={"PATH": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("SF520: no java in the PATH. Install a Java 17")
