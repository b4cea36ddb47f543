"""How executions stand, by all records of them: pure functions from records to states.

Everything that a record holds is added up, so that the same records give the same state in whatever order stages are
read. An execution is through when each topic between stages has as many rows of it received as sent, none waits, and,
where its end is announced, that has come to every task that it goes to. What an execution was told to be before and is
by more records must be a legal change (`model.execution_status`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.codecs import Decoder, decoder
from streamflow.model.execution_status import legal
from streamflow.runtime.execution_tails import SPEC
from streamflow.sdk.errors import CodecError, StreamflowError
from streamflow.sdk.log import RecordBatch
from streamflow.topology.plan import StagePlan, Topology

_DECODER = decoder(SPEC, reserved=())
_KEYS: Final = ("execution", "stage", "partition")
_ERROR: Final = ("error_code", "error_message", "error_node")
CONTEXT: Final = ("user", "session", "trace", "environment")
_FIRST: Final = (*_ERROR, *CONTEXT)  # the first that is told counts
_SUMS: Final = ("begun", "waiting", "kept", "failed", "resumed", "cancelled", "timed_out")
_STAGE_DTYPES: Final[Mapping[str, pl.DataType]] = {
    "execution": pl.String(), "stage": pl.String(), "partition": pl.Int32(), "trigger": pl.String(),
    **dict.fromkeys(_SUMS, pl.Int64()), "records": pl.Int64(), "bounded": pl.Boolean(), "ended": pl.Boolean(),
    "tasks": pl.Int32(), "began_ms": pl.Int64(), "last_ms": pl.Int64(), **dict.fromkeys(_FIRST, pl.String()),
}  # fmt: skip
_EDGE_DTYPES: Final[Mapping[str, pl.DataType]] = {
    "execution": pl.String(), "topic": pl.String(), "received": pl.Int64(), "sent": pl.Int64(),
}  # fmt: skip


class IllegalTransition(StreamflowError):
    """Records say that an execution went on after it had come to its end: they cannot be those of one run."""

    code = "SF613"


@dataclass(frozen=True, slots=True)
class Reach:
    """What records alone do not tell. `stages`: by trigger, the stages to which the end of an execution comes.
    `partial`: only steps with a failure left records, so that nothing is known of what went well.
    """

    stages: Mapping[str, frozenset[str]]
    partial: bool = False

    @classmethod
    def of(cls, topology: Topology) -> Reach:
        kinds = {t.name: t.kind for t in topology.topics}
        begins = {
            i.node: stage
            for stage in topology.stages
            for i in stage.inputs
            if i.topic and kinds.get(i.topic) != "repartition"
        }
        partial = any(stage.tracked == "errors" for stage in topology.stages)
        return cls({node: _behind(stage, topology.stages) for node, stage in begins.items()}, partial)


def _behind(first: StagePlan, stages: Sequence[StagePlan]) -> frozenset[str]:
    """The stage and all that its repartitions lead to."""
    found: dict[str, StagePlan] = {}
    waiting = [first]
    while waiting:
        stage = waiting.pop()
        if stage.id not in found:
            found[stage.id] = stage
            topics = {s.topic for s in stage.sinks if s.kind == "repartition"}
            waiting += [other for other in stages if any(i.topic in topics for i in other.inputs)]
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class States:
    """Sums of records. `stages`: by execution, stage and task; `edges`: by execution and topic between stages."""

    stages: pl.DataFrame
    edges: pl.DataFrame

    @classmethod
    def none(cls) -> States:
        return cls(pl.DataFrame(schema=dict(_STAGE_DTYPES)), pl.DataFrame(schema=dict(_EDGE_DTYPES)))

    @classmethod
    def of(cls, records: pl.DataFrame) -> States:
        """Of decoded records (`decode_records`), in their order."""
        at = pl.col("at").dt.epoch("ms").cast(pl.Int64)
        stages = records.select(
            *_KEYS, "trigger", *_SUMS, pl.lit(1, dtype=pl.Int64).alias("records"), "bounded", "ended", "tasks",
            at.alias("began_ms"), at.alias("last_ms"), *_FIRST,
        )  # fmt: skip
        edges = records.select("execution", "edges").filter(pl.col("edges").list.len() > 0)
        edges = edges.explode("edges").unnest("edges").select(*_EDGE_DTYPES)
        return cls(stages, edges)._added()

    def plus(self, more: States) -> States:
        """The sums of both; `more` came later."""
        return States(pl.concat([self.stages, more.stages]), pl.concat([self.edges, more.edges]))._added()

    def only(self, executions: pl.Series) -> States:
        """Those of some executions."""
        chosen = executions.alias("execution").to_frame()
        stages = self.stages.join(chosen, on="execution", how="semi", maintain_order="left")
        return States(stages, self.edges.join(chosen, on="execution", how="semi", maintain_order="left"))

    def _added(self) -> States:
        first = [pl.col(c).drop_nulls().first() for c in _FIRST]
        stages = self.stages.group_by(_KEYS, maintain_order=True).agg(
            pl.col("trigger").filter(pl.col("trigger") != "").first().fill_null(""), pl.col(*_SUMS, "records").sum(),
            pl.col("bounded", "ended").any(), pl.col("tasks").max(), pl.col("began_ms").min(), pl.col("last_ms").max(),
            *first,
        )  # fmt: skip
        edges = self.edges.group_by("execution", "topic", maintain_order=True).agg(pl.col("received", "sent").sum())
        return States(stages.select(*_STAGE_DTYPES), edges)


def decode_records(
    batches: Sequence[RecordBatch], *, first_offset: int = 0, reader: Decoder = _DECODER
) -> pl.DataFrame:
    """Records of executions from an offset on, as a frame. `reader`: one that leaves columns out.

    Raises CodecError for what is no such record; only streamflow may write to that topic.
    """
    decoded = reader.decode(batches, first_offset=first_offset)
    if decoded.bad:
        bad = decoded.bad[0]
        raise CodecError(f"record at offset {bad.offset} tells of no execution: {bad.message}")
    return decoded.frame


def fold(before: States, records: pl.DataFrame, reach: Reach) -> States:
    """The states after some more records. Raises IllegalTransition where those cannot follow."""
    after = before.plus(States.of(records))
    ids = records["execution"].unique()
    if not reach.partial:
        _check(statuses(before.only(ids), reach), statuses(after.only(ids), reach), records)
    return after


def _check(before: pl.DataFrame, after: pl.DataFrame, records: pl.DataFrame) -> None:
    woken = records.filter("woken")["execution"].unique()
    resumed = records.filter(pl.col("resumed") > 0)["execution"].unique()
    both = before.select("execution", was="status").join(after.select("execution", "status"), on="execution")
    both = both.with_columns(
        pl.col("execution").is_in(woken.implode()).alias("woken"),
        pl.col("execution").is_in(resumed.implode()).alias("resumed"),
    )
    for was, now, by_state, again in both.select("was", "status", "woken", "resumed").unique().iter_rows():
        if not legal(was, now, woken=by_state, resumed=again):
            one = both.filter((pl.col("was") == was) & (pl.col("status") == now))["execution"][0]
            raise IllegalTransition(
                f"execution {one!r} was {was}, and more records of it say {now}.",
                mend="Its topic holds records of several runs, or lost some: start anew with `streamflow reset`.",
            )


def statuses(states: States, reach: Reach) -> pl.DataFrame:
    """How each execution stands: one row each, in the order in which they were first told of.

    Columns: execution, status, settled (nothing of it is left anywhere), trigger, records, began_ms, last_ms, the
    first error, and CONTEXT.
    """
    tasks = states.stages.group_by("execution", "stage", maintain_order=True).agg(
        (pl.col("ended").sum() >= pl.col("tasks").max()).alias("over"), pl.col("ended").any().alias("some")
    )
    over = tasks.group_by("execution").agg((pl.col("over") & pl.col("some")).sum().alias("over"))
    edges = states.edges.group_by("execution").agg((pl.col("received") != pl.col("sent")).any().alias("moving"))
    # What waits for the end of the execution does so until that has come to its task.
    waiting = pl.when(~pl.col("ended")).then(pl.col("kept")).otherwise(0) + pl.col("waiting")
    whole = states.stages.with_columns(waiting.alias("waiting")).group_by("execution", maintain_order=True).agg(
        pl.col("trigger").filter(pl.col("trigger") != "").first().fill_null(""), pl.col(*_SUMS, "records").sum(),
        pl.col("bounded").any(), pl.col("began_ms").min(), pl.col("last_ms").max(),
        *(pl.col(c).drop_nulls().first() for c in _FIRST),
    )  # fmt: skip
    due = {node: len(stages) for node, stages in reach.stages.items()}
    whole = (
        whole.join(over, on="execution", how="left", maintain_order="left")
        .join(edges, on="execution", how="left", maintain_order="left")
        .with_columns(
            pl.col("moving").fill_null(False),
            pl.col("trigger").replace_strict(due, default=0, return_dtype=pl.UInt32).alias("due"),
        )
    )
    # Executions of several items that began in a window or a join have no end of their own.
    open_end = pl.col("bounded") & (pl.col("trigger") != "") & (pl.col("over") < pl.col("due"))
    waits = pl.col("waiting") > 0
    settled = pl.lit(True) if reach.partial else ~pl.col("moving") & ~open_end & ~waits
    status = (
        pl.when(pl.col("failed") > pl.col("resumed")).then(pl.lit("failed"))
        .when(settled & (pl.col("cancelled") > 0)).then(pl.lit("cancelled"))
        .when(settled & (pl.col("timed_out") > 0)).then(pl.lit("timed_out"))
        .when(settled).then(pl.lit("completed"))
        .when(waits).then(pl.lit("waiting"))
        .otherwise(pl.lit("running"))
    )  # fmt: skip
    columns = ("execution", "status", "settled", "trigger", "records", "began_ms", "last_ms", *_FIRST)
    return whole.with_columns(status.alias("status"), settled.alias("settled")).select(columns)
