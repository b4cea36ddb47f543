"""A test broker's settings: those of a single node, with little else bent.

Message sizes and transactions behave as they do on a cluster that was left at Kafka's defaults. Topics are never
created by asking for them, so that a misspelt name is an error; and records are kept until a topic's own settings say
otherwise: those made for a test are often of 1970, and a broker that looks for records of last week every five minutes
would delete them between two steps of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streamflow.testing.kafka_security import CONTROLLER, PLAIN, Listener

SINGLE_NODE: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": CONTROLLER,
    "inter.broker.listener.name": PLAIN,
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",
    # One node has one replica; fewer internal partitions make the first group and transaction quick.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
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
}

# For tests of what happens in time: the broker looks once a second, or more often, where it would look every ten
# seconds, five minutes or ten. What is timed out, expired or deleted, and after how long, is as ever.
QUICK_TO_NOTICE: Final[Mapping[str, str]] = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "1000",
    "offsets.retention.check.interval.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "group.min.session.timeout.ms": "100",
}


def broker_settings(host: str, ports: Mapping[str, int], data: Path, listeners: Sequence[Listener]) -> dict[str, str]:
    """All settings of one broker. `ports` has the port of every listener by name, `PLAIN` and `CONTROLLER` too."""
    told = {one.name: one.advertised_port or ports[one.name] for one in listeners} | {PLAIN: ports[PLAIN]}
    protocols = {PLAIN: "PLAINTEXT", CONTROLLER: "PLAINTEXT"} | {one.name: one.protocol for one in listeners}
    settings = {
        **SINGLE_NODE,
        "controller.quorum.voters": f"1@{host}:{ports[CONTROLLER]}",
        "listeners": _addresses(host, ports),
        "advertised.listeners": _addresses(host, told),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "log.dirs": str(data / "log"),
    }
    for listener in listeners:
        settings |= listener.settings()
    return settings


def properties(settings: Mapping[str, str]) -> str:
    """As Java reads a properties file: ASCII, a backslash before a backslash, anything else as an escape."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    text = "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)
    return f"\\{text}" if text.startswith(" ") else text


def _addresses(host: str, ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{host}:{port}" for name, port in ports.items())
