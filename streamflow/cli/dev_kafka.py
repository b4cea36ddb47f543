"""`streamflow dev kafka`: a real broker in the foreground, for a laptop and for scripts."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from pathlib import Path

from streamflow.testing.kafka_artifacts import BrokerError
from streamflow.testing.kafka_server import KafkaServer

PORT = 9092  # what Kafka's own tools expect; another free one is taken if it is in use and none was asked for


def dev_kafka(port: int | None, data: Path | None) -> int:
    """Run a broker until SIGTERM or SIGINT. Returns the exit code: 0 when asked to stop, 1 when it cannot run.

    The one line on stdout is `ready kafka://HOST:PORT`, printed when it serves; all else goes to stderr. Without
    `data` the topics live in a temporary folder that goes away with the broker.
    """
    if data is not None:
        return _serve(KafkaServer(data, port=_port(port)))
    with tempfile.TemporaryDirectory(prefix="streamflow-kafka-") as scratch:
        _tell(f"topics are kept in {scratch} until the broker stops; --data DIR keeps them for good")
        return _serve(KafkaServer(Path(scratch), port=_port(port)))


def _serve(server: KafkaServer) -> int:
    # A stop can be asked for at any time, also while the broker still starts: both signals interrupt what we do.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.default_int_handler)
    try:
        server.start()
        print(f"ready {server.address}", flush=True)
        code = server.wait()
    except BrokerError as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    else:
        _tell(f"the broker ended by itself with exit code {code}; see {server.log_file}")
        return 1
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)  # the second Ctrl-C must not leave a broker behind
        server.stop()


def _port(asked: int | None) -> int:
    """The port to use: the one asked for, else Kafka's usual one when it is free, else 0 for any free one."""
    if asked is not None:
        return asked
    try:
        with socket.create_server(("127.0.0.1", PORT)):
            return PORT
    except OSError:
        return 0


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
