"""Records of executions are written by pattern; they are those that the plain encoder writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from streamflow.codecs import encoder
from streamflow.codecs.envelope import as_read
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.runtime.execution_counts import Counts
from streamflow.runtime.execution_records import MESSAGE_CHARS_MAX, ExecutionWriter, patterns
from streamflow.runtime.execution_states import IllegalTransition, Reach, States, decode_records, fold, statuses
from streamflow.runtime.execution_tails import SPEC, Moment
from streamflow.sdk.log import NewBatch
from streamflow.topology.plan import NodePlan, SinkPlan, StagePlan, Wire

STAGE = StagePlan(
    id="rows",
    inputs=(),
    nodes=(NodePlan(id="odd", kind="if"), NodePlan(id="cut", kind="set")),
    sinks=(SinkPlan(kind="repartition", wire=Wire(node="cut"), topic="w.cut.repartition", codec=SPEC),),
    executions="w.executions",
    tracked="all",
)


def writer(partitions: int = 1) -> ExecutionWriter:
    nothing: frozenset[str] = frozenset()
    return ExecutionWriter(
        STAGE, 3, triggers=nothing, waits=frozenset(["cut"]), keeps=nothing, bounded=False, partitions=partitions,
        batch_bytes_max=1 << 20,
    )  # fmt: skip


def counts(n: int, *, seed: int = 1) -> Counts:
    draw = np.random.default_rng(seed)
    into = draw.integers(1, 4, n)
    failed = draw.integers(0, 2, n)
    which = np.flatnonzero(failed)
    absorbed = draw.integers(0, 2, n)
    return Counts(
        executions=pl.Series([f"in#x/0:{i}" for i in range(n)]),
        rows={
            ("odd", "rows_in"): into,
            ("odd", "rows_out"): into - failed,
            ("odd", "dead_lettered"): failed,
            ("cut", "absorbed"): absorbed,
            ("cut", "released"): np.minimum(absorbed, draw.integers(0, 2, n)),
            ("w.cut.repartition", "sent"): into - failed,
        },
        woken=draw.integers(0, 2, n) == 1,
        errors=pl.DataFrame(
            {
                "number": which,
                ERROR_CODE: ["bad"] * len(which),
                ERROR_MESSAGE: ["x" * (100 * (i % 9)) for i in range(len(which))],
                ERROR_NODE: ["odd"] * len(which),
            }
        ),
        tasks=np.zeros(n, np.int64),
    )


def read(batches: Sequence[NewBatch]) -> pl.DataFrame:
    """Decoded as a log would give them back."""
    stored, at = [], 0
    for batch in batches:
        stored.append(as_read(batch, base_offset=at))
        at += batch.count
    return decode_records(stored)


@pytest.mark.parametrize("executions", [1, 7, 500])  # few patterns are written one by one
def test_bytes_are_those_of_the_plain_encoder(executions: int) -> None:
    """Method: decode what was written by pattern, encode it row by row with the codec of the topic, compare bytes."""
    (written,) = writer().encode(counts(executions), Moment(TopicPartition("in", 0), 17, 1_700_000_000_000)).values()
    frame = read(written)
    keyed = frame.with_columns(
        pl.col("execution").cast(pl.Binary).alias(KEY), pl.lit(1_700_000_000_000, dtype=pl.Int64).alias(TS)
    )
    plain = encoder(SPEC).encode(keyed)
    assert not plain.bad
    assert [b.body for b in plain.batches] == [b.body for b in written]


def test_records_tell_what_was_counted() -> None:
    given = counts(300)
    writes = writer(partitions=4).encode(given, Moment(TopicPartition("in", 2), 17, 5_000))
    assert {at.topic for at in writes} == {"w.executions"}
    frame = pl.concat([read(b) for b in writes.values()])
    by_id = {row["execution"]: row for row in frame.iter_rows(named=True)}
    assert len(by_id) == 300
    errors = dict(zip(given.errors["number"], given.errors[ERROR_MESSAGE], strict=True))
    for i, execution in enumerate(given.executions):
        row = by_id[execution]
        nodes = {node["node"]: node for node in row["nodes"]}
        assert nodes["odd"]["rows_in"] == given.rows["odd", "rows_in"][i]
        assert nodes["odd"]["status"] == ("failed" if i in errors else "completed")
        absorbed = int(given.rows["cut", "absorbed"][i])
        assert ("cut" in nodes) == bool(absorbed)
        assert row["waiting"] == absorbed - given.rows["cut", "released"][i]
        assert row["sent"] == sum(edge["sent"] for edge in row["edges"])
        assert row["error_message"] == (errors[i][:MESSAGE_CHARS_MAX] if i in errors else None)
        assert (row["topic"], row["topic_partition"], row["offset"], row["partition"]) == ("in", 2, 17, 3)


@pytest.mark.parametrize("high", [2, 50, 1 << 40])
def test_patterns_are_the_distinct_rows(high: int) -> None:
    draw = np.random.default_rng(7)
    columns = [draw.integers(-1, high, 400) for _ in range(4)]
    first, number = patterns(columns, 400)
    rows = list(zip(*(c.tolist() for c in columns), strict=True))
    assert [rows[first[n]] for n in number] == rows
    assert len(first) == len(set(rows))


def test_an_execution_that_goes_on_behind_its_end_is_refused() -> None:
    """Records of two runs on one topic: the row that a stage received was sent by nobody."""
    (written,) = writer().encode(counts(1), Moment(TopicPartition("in", 0), 0, 0)).values()
    done = read(written).with_columns(waiting=_ZERO, failed=_ZERO, woken=pl.lit(False), edges=pl.lit([], dtype=_EDGES))
    reach = Reach({})
    states = fold(States.none(), done, reach)
    assert statuses(states, reach)["status"].to_list() == ["completed"]
    more = done.with_columns(
        edges=pl.Series([[{"topic": "t", "received": 1, "sent": 0}]], dtype=_EDGES), received=_ZERO + 1
    )
    with pytest.raises(IllegalTransition, match=r"execution 'in#x/0:0' was completed, and more records of it say run"):
        fold(states, more, reach)
    fold(states, more.with_columns(woken=pl.lit(True)), reach)  # a row that state gave back may go anywhere


_ZERO = pl.lit(0, dtype=pl.Int64)
_EDGES = pl.List(pl.Struct({"topic": pl.String, "received": pl.Int64, "sent": pl.Int64}))
