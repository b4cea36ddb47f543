"""The contract with aiokafka: what `logs/kafka/wire.py` leans on is as it was. A release that differs fails here.

Then read that module again beside the new release, run tests/kafka, and only then raise the pin in pyproject.toml.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.types import Array

from streamflow.logs.kafka import wire
from streamflow.model.positions import TopicPartition

ROOT = Path(__file__).parents[3]

# request -> (key, newest version that aiokafka speaks, fields of the answer that we take apart)
REQUESTS: dict[str, tuple[int, int, Any]] = {
    "AddOffsetsToTxnRequest": (25, 0, ("throttle_time_ms", "error_code")),
    "AddPartitionsToTxnRequest": (
        24,
        0,
        ("throttle_time_ms", ("errors", ("topic", ("partition_errors", ("partition", "error_code"))))),
    ),
    "CreateTopicsRequest": (
        19,
        3,
        ("throttle_time_ms", ("topic_errors", ("topic", "error_code", "error_message"))),
    ),
    "DeleteRecordsRequest": (
        21,
        2,
        (
            "throttle_time_ms",
            ("topics", ("name", ("partitions", ("partition_index", "low_watermark", "error_code", "tags")), "tags")),
            "tags",
        ),
    ),
    "DeleteTopicsRequest": (20, 3, ("throttle_time_ms", ("topic_error_codes", ("topic", "error_code")))),
    "DescribeConfigsRequest": (
        32,
        2,
        (
            "throttle_time_ms",
            (
                "resources",
                (
                    "error_code",
                    "error_message",
                    "resource_type",
                    "resource_name",
                    (
                        "config_entries",
                        (
                            "config_names",
                            "config_value",
                            "read_only",
                            "config_source",
                            "is_sensitive",
                            ("config_synonyms", ("config_name", "config_value", "config_source")),
                        ),
                    ),
                ),
            ),
        ),
    ),
    "DescribeGroupsRequest": (
        15,
        3,
        (
            "throttle_time_ms",
            (
                "groups",
                (
                    "error_code",
                    "group",
                    "state",
                    "protocol_type",
                    "protocol",
                    (
                        "members",
                        ("member_id", "client_id", "client_host", "member_metadata", "member_assignment"),
                    ),
                ),
            ),
        ),
    ),
    "EndTxnRequest": (26, 0, ("throttle_time_ms", "error_code")),
    "FetchRequest": (
        1,
        11,
        (
            "throttle_time_ms",
            "error_code",
            "session_id",
            (
                "topics",
                (
                    "topics",
                    (
                        "partitions",
                        (
                            "partition",
                            "error_code",
                            "highwater_offset",
                            "last_stable_offset",
                            "log_start_offset",
                            ("aborted_transactions", ("producer_id", "first_offset")),
                            "preferred_read_replica",
                            "message_set",
                        ),
                    ),
                ),
            ),
        ),
    ),
    "FindCoordinatorRequest": (
        10,
        1,
        ("throttle_time_ms", "error_code", "error_message", "coordinator_id", "host", "port"),
    ),
    "InitProducerIdRequest": (22, 0, ("throttle_time_ms", "error_code", "producer_id", "producer_epoch")),
    "ListGroupsRequest": (16, 1, ("throttle_time_ms", "error_code", ("groups", ("group", "protocol_type")))),
    "OffsetCommitRequest": (
        8,
        3,
        ("throttle_time_ms", ("topics", ("topic", ("partitions", ("partition", "error_code"))))),
    ),
    "OffsetRequest": (
        2,
        3,
        (
            "throttle_time_ms",
            ("topics", ("topic", ("partitions", ("partition", "error_code", "timestamp", "offset")))),
        ),
    ),
    "ProduceRequest": (
        0,
        7,
        (
            (
                "topics",
                ("topic", ("partitions", ("partition", "error_code", "offset", "timestamp", "log_start_offset"))),
            ),
            "throttle_time_ms",
        ),
    ),
    "TxnOffsetCommitRequest": (
        28,
        0,
        ("throttle_time_ms", ("errors", ("topic", ("partition_errors", ("partition", "error_code"))))),
    ),
}


def names(schema: Any) -> Any:
    """The names of a schema's fields, arrays with what they hold."""
    out = []
    for name, kind in zip(schema.names, schema.fields, strict=True):
        inner = kind.array_of if isinstance(kind, Array) else None
        out.append((name, names(inner)) if hasattr(inner, "names") else name)
    return tuple(out)


def test_the_pinned_release_is_the_one_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"aiokafka=={version('aiokafka')}" in project["dependencies"]


@pytest.mark.parametrize("request_name", REQUESTS)
def test_requests_and_answers_are_as_we_take_them_apart(request_name: str) -> None:
    key, newest, fields = REQUESTS[request_name]
    newest_class = getattr(wire, request_name)._CLASSES[-1]
    assert (key, newest) == (newest_class.API_KEY, newest_class.API_VERSION)
    assert names(newest_class.RESPONSE_TYPE.SCHEMA) == fields


def test_every_request_of_aiokafka_that_we_send_is_in_the_contract() -> None:
    own = {"OffsetDeleteRequest", "StableOffsetsRequest", "TopicsRequest"}
    assert {n for n in wire.__all__ if n.endswith("Request")} - own == set(REQUESTS)


@pytest.mark.parametrize(
    ("request_", "version_", "hexes"),
    [
        (wire.TopicsRequest(), 10, "00 00 00 00 00"),
        (wire.TopicsRequest(["t"]), 9, "02 02 74 00 00 00 00 00"),
        (wire.TopicsRequest(["t"]), 10, f"02 {'00' * 16} 02 74 00 00 00 00 00"),
        (wire.StableOffsetsRequest("g", None, stable=False), 7, "02 67 00 00 00"),
        (wire.StableOffsetsRequest("g", [("t", [3])], stable=True), 7, "02 67 02 02 74 02 00000003 00 01 00"),
        (wire.OffsetDeleteRequest("g", [("t", [3])]), 0, "0001 67 00000001 0001 74 00000001 00000003"),
    ],
)
def test_our_own_requests_are_kafkas_bytes(request_: Any, version_: int, hexes: str) -> None:
    built = request_.prepare({request_.API_KEY: (0, version_)})
    assert version_ == built.API_VERSION
    assert built.encode().hex() == hexes.replace(" ", "")
    header = built.build_request_header(correlation_id=1, client_id="c")
    assert header.encode().endswith(b"c\0" if built.FLEXIBLE_VERSION else b"c")
    answer = BytesIO(b"\0\0\0\1\0" if built.FLEXIBLE_VERSION else b"\0\0\0\1")
    assert built.parse_response_header(answer).correlation_id == 1


def test_calls_have_the_arguments_that_we_give() -> None:
    assert list(inspect.signature(AIOKafkaClient.send).parameters) == ["self", "node_id", "request", "group"]
    client = inspect.signature(AIOKafkaClient.__init__).parameters
    connection = inspect.signature(create_conn).parameters
    ours = {"client_id", "request_timeout_ms", "security_protocol", "ssl_context", "sasl_mechanism",
            "sasl_plain_username", "sasl_plain_password"}  # fmt: skip
    assert ours | {"bootstrap_servers", "metadata_max_age_ms"} <= set(client)
    assert ours <= set(connection)
    for name in ("bootstrap", "close", "force_metadata_update", "get_random_node"):
        assert callable(getattr(AIOKafkaClient, name))
    assert isinstance(AIOKafkaClient.hosts, property)
    for name in ("brokers", "broker_metadata", "leader_for_partition", "partitions_for_topic"):
        assert callable(getattr(ClusterMetadata, name))


def test_metadata_answers_for_our_own_partition_type() -> None:
    """aiokafka has a TopicPartition of its own; ours must do in its place."""
    cluster = ClusterMetadata()
    assert cluster.leader_for_partition(TopicPartition("t", 0)) is None
    assert cluster.controller is None


def test_errors_tell_what_was_sent_from_what_was_not() -> None:
    assert issubclass(NodeNotReadyError, KafkaError)
    assert issubclass(RequestTimedOutError, KafkaError)
    source = inspect.getsource(AIOKafkaClient.send)
    assert source.index("raise NodeNotReadyError") < source.index(".send(") < source.index("raise RequestTimedOutError")


def test_an_answer_that_nobody_awaits_is_dropped() -> None:
    """What makes our calls cancel-safe on a shared connection."""
    assert "if not fut.done():" in inspect.getsource(AIOKafkaConnection._handle_frame)


def test_no_other_module_imports_aiokafka() -> None:
    """What the log sends goes through `wire`; `membership` is a member of a group, and sends nothing else."""
    importing = set()
    for path in (ROOT / "streamflow" / "logs").rglob("*.py"):
        tree = ast.parse(path.read_text())
        modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        if any(m.split(".")[0] == "aiokafka" for m in modules):
            importing.add(path.name)
    assert importing == {"wire.py", "membership.py"}


def test_no_global_of_aiokafka_is_changed() -> None:
    """Faust uses the same classes in the same process. Method: compare all module globals before and after."""
    code = (
        "import aiokafka.client, aiokafka.conn, aiokafka.consumer.fetcher, aiokafka.producer.producer,"
        " aiokafka.producer.sender, sys\n"
        "mods = {n: m for n, m in sys.modules.items() if n.startswith('aiokafka')}\n"
        "before = {n: dict(vars(m)) for n, m in mods.items()}\n"
        "classes = {v: dict(vars(v)) for d in before.values() for v in d.values() if isinstance(v, type)}\n"
        "import streamflow.logs.kafka\n"
        "for n, m in mods.items():\n"
        "    for k, v in before[n].items():\n"
        "        assert vars(m)[k] is v, (n, k)\n"
        "for c, d in classes.items():\n"
        "    if c.__module__.startswith('aiokafka'):\n"
        "        assert {k: v for k, v in vars(c).items() if k[:4] != '_abc'}"
        " == {k: v for k, v in d.items() if k[:4] != '_abc'}, c\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
