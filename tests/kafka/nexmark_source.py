"""Nexmark events on a topic of a cluster, and the queries' workflows made to read from there.

In topologies/ the queries read a file, whose end closes all windows. A topic has no end. So behind the events of each
partition stands one more, a day later, which no query asks for: it closes whatever waited.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from ruamel.yaml import YAML

from streamflow.testing.nexmark import Nexmark, events, lines
from streamflow.testing.nexmark_content import BASE_MS, KINDS
from tests.golden.nexmark_answers import ROOT

PARTITIONS = 4
SCHEMA = "event.avsc"
DISORDER: Mapping[str, Any] = {"group": 50, "delay_probability": 0.1, "delay_ms": 3_000}
_DAY_MS = 86_400_000
_OF = {0: "id", 1: "id", 2: "auction"}  # what an event is about, by its kind: the key of its record
_LAST = {"id": -1, "name": "", "emailAddress": "", "creditCard": "", "city": "", "state": "", "extra": ""}


@dataclass(frozen=True)
class Source:
    """A stream of events: as JSON lines in `file`, and as Avro on `topic` of the cluster at `bootstrap`."""

    stream: Nexmark
    file: Path
    bootstrap: str
    topic: str

    @property
    def records(self) -> int:
        """On the topic: the events, and one more for each partition."""
        return self.stream.events + PARTITIONS

    def write(self) -> Source:
        """Make the file and fill the topic: in order of arrival on each partition, by what an event is about."""
        with self.file.open("wb") as file:
            file.writelines(lines(self.stream))
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        # Record times are those of the events, years ago: by them the broker would delete all of it.
        topic = NewTopic(self.topic, PARTITIONS, 1, config={"retention.ms": "-1"})
        admin.create_topics([topic])[self.topic].result(timeout=60)
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 20, "enable.idempotence": True,
             "queue.buffering.max.messages": 2_000_000, "queue.buffering.max.kbytes": 1 << 21}
        )  # fmt: skip
        schema = parsed(ROOT / "nexmark-q0" / SCHEMA)
        for number, event in enumerate(placed(self.stream)):
            value = encoded(schema, event.value)
            producer.produce(self.topic, value, event.key, event.partition, timestamp=event.time_ms)
            if not number % 10_000:
                producer.poll(0)
        if left := producer.flush(300):
            raise AssertionError(f"{left} records were not sent within 300 s")
        return self


class Placed(NamedTuple):
    """An event and where it goes: its record's partition, key and time (epoch ms)."""

    partition: int
    key: bytes
    time_ms: int
    value: dict[str, Any]


def placed(stream: Nexmark) -> Iterator[Placed]:
    """All events in order of arrival, and behind them the last one of each partition."""
    for event in events(stream):
        kind = event["event_type"]
        body = event[KINDS[kind]]
        about = body[_OF[kind]]
        yield Placed(about % PARTITIONS, b"%d" % about, body["dateTime"], event)
    count = stream.events
    after = BASE_MS + count * 1000 // stream.rate + stream.delay_ms + _DAY_MS
    person = {**_LAST, "dateTime": after}
    for partition in range(PARTITIONS):
        value = {"seq": count, "eid": count, "arrival": after, "event_type": 0, "person": person}
        yield Placed(partition, b"last", after, value)


def from_file(query: str, folder: Path, file: Path) -> Path:
    """The workflow as it is, in `folder`, with `file` as its input; returns where it is."""
    shutil.copytree(ROOT / f"nexmark-{query}", folder, ignore=shutil.ignore_patterns("input", "expected"))
    (folder / "input").mkdir()
    (folder / "input" / "events.jsonl").symlink_to(file.absolute())
    return folder / "workflow.yaml"


def from_topic(
    query: str,
    folder: Path,
    name: str,
    topic: str,
    policies: Mapping[str, Any] | None = None,
    *,
    own_clock: bool = False,
) -> Path:
    """The workflow under the name `name`, in `folder`, reading from `topic`; returns where it is.

    What it publishes goes to `<name>.<id of the node>`, as many partitions as it has tasks. `own_clock`: event time is
    when the machine's clock says that an event is read.
    """
    shutil.copytree(ROOT / f"nexmark-{query}", folder, ignore=shutil.ignore_patterns("input", "expected"))
    if parsed(folder / SCHEMA) != parsed(ROOT / "nexmark-q0" / SCHEMA):
        raise AssertionError(f"{query} reads events with a schema of its own")
    yaml, file = YAML(), folder / "workflow.yaml"
    document = yaml.load(file)
    document["workflow"] = name
    document.pop("tests", None)
    for node_id, node in document["nodes"].items():
        if node["type"] == "file":
            time = {"by_clock": True} if own_clock else {"time": node["time"]}
            document["nodes"][node_id] = {"type": "event", "topic": topic, "schema": SCHEMA, **time}
        elif node["type"] == "publish":
            node["topic"] = f"{name}.{node_id}"
            node.pop("partitions", None)
    if policies:
        document.setdefault("policies", {}).update(policies)
    yaml.dump(document, file)
    return file


def parsed(file: Path, *, times_as_numbers: bool = False) -> Any:
    """The Avro schema in a file; `times_as_numbers`: read as epoch ms, not as datetimes."""
    schema = json.loads(file.read_text(), object_hook=_less_logical_type if times_as_numbers else None)
    return fastavro.parse_schema(schema)


def _less_logical_type(value: dict[str, Any]) -> Any:
    return value["type"] if value.get("logicalType") == "timestamp-millis" else value


def encoded(schema: Any, event: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, event)
    return out.getvalue()
