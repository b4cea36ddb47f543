"""The journal: what a task's commit depended on besides the records themselves, so that a replay can do it again.

One record per commit, in the same transaction: which ranges of which inputs were processed in what order, the clock
reading of each step, which inputs were held to be idle, which calls took too long, the seed of random choices. And what
the next commit goes on from besides offsets and stores: executions that are open, and event time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.avro_values import AvroValue
from streamflow.runtime.committed import InputState
from streamflow.runtime.event_time import NO_WATERMARK, InputTime, TaskTime
from streamflow.runtime.late_calls import LateCalls
from streamflow.sdk.errors import CodecError

VERSION: Final = 5
STEPS_MAX: Final = 10_000  # of one commit
INPUTS_MAX: Final = 1_000
LATE_MAX: Final = 50_000  # runs of late calls of one commit


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStep:
    """Offsets `range` of `at` were processed in one step at `now_ms`.

    `with_previous`: these rows and those of the entry before were merged row by row, by (event time, input, offset);
    both then belong to one step. `idle`: inputs that were held to be idle from this step on. An empty range is a step
    without records, which held inputs to be idle, or moved time on by the clock where it names none. `woke`: such a
    step in which operators acted that wait for the clock (`sdk.operator.Waits`). `late`: calls of the step that were
    not over in time.
    """

    at: TopicPartition
    range: OffsetRange
    now_ms: int
    with_previous: bool = False
    idle: tuple[TopicPartition, ...] = ()
    woke: bool = False
    late: tuple[LateCalls, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """One commit of one task.

    Where something besides offsets and stores is to be kept, `number` counts such commits from 1, `open` and
    `time.inputs` are per input of `inputs`, as they were after the commit; `time` is None where no watermark is needed.
    Else `number` is 0, and they are empty.
    """

    stage: str
    partition: int
    steps: tuple[JournalStep, ...]
    seed: int = 0
    number: int = 0
    inputs: tuple[TopicPartition, ...] = ()
    open: tuple[InputState, ...] = ()
    time: TaskTime | None = None

    def together(self) -> Iterator[list[JournalStep]]:
        """Entries that were one step, in the order processed."""
        steps: list[JournalStep] = []
        for step in self.steps:
            if steps and not step.with_previous:
                yield steps
                steps = []
            steps.append(step)
        if steps:
            yield steps

    def encode(self) -> bytes:
        """The record's value. Raises CodecError beyond STEPS_MAX, INPUTS_MAX or the size of a record."""
        places = _places(self)
        if len(self.steps) > STEPS_MAX or len(places) > INPUTS_MAX:
            raise CodecError(
                f"journal of {self.stage}/{self.partition}: {len(self.steps)} steps over {len(places)} inputs in one "
                f"commit, at most {STEPS_MAX} and {INPUTS_MAX} are allowed.",
                mend="Commit more often: lower commit_interval_ms.",
            )
        late = sum(len(step.late) for step in self.steps)
        if late > LATE_MAX:
            raise CodecError(
                f"journal of {self.stage}/{self.partition}: {late} runs of calls that were not over in time in one "
                f"commit, at most {LATE_MAX} are allowed.",
                mend="Commit more often (lower commit_interval_ms), take smaller steps, or give the calls more time.",
            )
        index = {at: i for i, at in enumerate(places)}
        return _VALUE.encode(
            {
                "stage": self.stage,
                "partition": self.partition,
                "seed": self.seed,
                "number": self.number,
                "inputs": [{"topic": at.topic, "partition": at.partition} for at in places],
                "steps": [
                    {
                        "input": index[step.at],
                        "first": step.range.first,
                        "count": step.range.end - step.range.first,
                        "now_ms": step.now_ms,
                        "with_previous": step.with_previous,
                        "idle": [index[at] for at in step.idle],
                        "woke": step.woke,
                        "late": [
                            {"node": run.node, "first": run.first, "count": run.count, "made": run.made}
                            for run in step.late
                        ],
                    }
                    for step in self.steps
                ],
                "open": [_open_fields(state) for state in self.open],
                "time": None if self.time is None else _time_fields(self.time),
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> JournalRecord:
        """Raises CodecError for anything that `encode` cannot have written."""
        fields = _VALUE.decode(value)
        places = tuple(TopicPartition(i["topic"], i["partition"]) for i in fields["inputs"])
        time, kept = fields["time"], len(fields["open"])
        try:
            if kept > len(places) or (time is not None and len(time["inputs"]) != kept):
                raise IndexError
            return cls(
                stage=fields["stage"],
                partition=fields["partition"],
                seed=fields["seed"],
                number=fields["number"],
                inputs=places[:kept],
                open=tuple(_open(state) for state in fields["open"]),
                steps=tuple(_step(s, places) for s in fields["steps"]),
                time=None if time is None else _time(time),
            )
        except IndexError:
            raise CodecError("journal record: it tells of an input that it does not list.") from None


def _places(record: JournalRecord) -> tuple[TopicPartition, ...]:
    """All inputs named anywhere, those of `inputs` first and in their order."""
    named = (at for step in record.steps for at in (step.at, *step.idle))
    return tuple(dict.fromkeys((*record.inputs, *named)))


def _step(fields: Mapping[str, Any], places: tuple[TopicPartition, ...]) -> JournalStep:
    numbers = (fields["input"], *fields["idle"])
    if min(numbers) < 0 or fields["count"] < 0:
        raise IndexError
    return JournalStep(
        at=places[fields["input"]],
        range=OffsetRange(fields["first"], fields["first"] + fields["count"]),
        now_ms=fields["now_ms"],
        with_previous=fields["with_previous"],
        idle=tuple(places[i] for i in fields["idle"]),
        woke=fields["woke"],
        late=tuple(LateCalls(**run) for run in fields["late"]),
    )


def _open_fields(state: InputState) -> dict[str, Any]:
    ends = [{"execution": execution, "tasks": tasks} for execution, tasks in state.ends.items()]
    return {"execution": state.execution, "ends": ends}


def _open(fields: Mapping[str, Any]) -> InputState:
    return InputState(fields["execution"], {end["execution"]: end["tasks"] for end in fields["ends"]})


def _time_fields(time: TaskTime) -> dict[str, Any]:
    return {
        "watermark_ms": time.watermark_ms,
        "told_more": time.told_more,
        "inputs": [
            {
                "watermark_ms": known.watermark_ms,
                "seen_ms": known.seen_ms,
                "idle": known.idle,
                "tasks": [
                    {"task": task, "watermark_ms": said, "more": task in known.busy}
                    for task, said in known.tasks.items()
                ],
                "taken_ms": known.taken_ms,
            }
            for known in time.inputs
        ],
    }


def _time(fields: Mapping[str, Any]) -> TaskTime:
    return TaskTime(
        watermark_ms=fields["watermark_ms"],
        told_more=fields["told_more"],
        inputs=tuple(
            InputTime(
                watermark_ms=known["watermark_ms"],
                seen_ms=known["seen_ms"],
                idle=known["idle"],
                tasks={said["task"]: said["watermark_ms"] for said in known["tasks"]},
                busy=frozenset(said["task"] for said in known["tasks"] if said["more"]),
                taken_ms=known["taken_ms"],
            )
            for known in fields["inputs"]
        ),
    )


def _record(name: str, doc: str, *fields: tuple[str, Any, str]) -> dict[str, Any]:
    named = [{"name": n, "type": t, "doc": d} for n, t, d in fields]
    return {"type": "record", "name": name, "namespace": "streamflow", "doc": doc, "fields": named}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_SAID = _record(
    "Said",
    "The last marker of an upstream task.",
    ("task", "int", "Its partition."),
    ("watermark_ms", "long", "What it said."),
    ("more", "boolean", "It had more to read then, or has not said anything."),
)
_INPUT_TIME = _record(
    "InputTime",
    "Event time of one input.",
    ("watermark_ms", "long", f"Its own watermark; {NO_WATERMARK} where nothing is known."),
    ("seen_ms", ["null", "long"], "Clock reading of the last step that had rows of it."),
    ("idle", "boolean", "Not waited for until its next row."),
    ("tasks", _array(_SAID), "Upstream tasks, on internal topics."),
    ("taken_ms", "long", f"Greatest event time of its rows so far; {NO_WATERMARK} before the first."),
)
_END = _record(
    "AnnouncedEnd",
    "An execution whose end not all upstream tasks have announced.",
    ("execution", "string", "Its id."),
    ("tasks", _array("int"), "Upstream tasks that have, by partition."),
)
_OPEN = _record(
    "InputState",
    "Executions that are open on one input.",
    ("execution", "string", "The one that rows belong to; empty if none is open."),
    ("ends", _array(_END), "Those whose end was announced in part."),
)
_LATE = _record(
    "LateCalls",
    "Calls that a node made, or would have made, one behind the other.",
    ("node", "string", "The node."),
    ("first", "int", "Number of the first, counted from 0 in the step."),
    ("count", "int", "How many."),
    ("made", "boolean", "They were made; else too many before them had not returned."),
)
SCHEMA: Final = _record(
    "Journal",
    "What a task's commit depended on besides its input records; each value begins with its version as an Avro int.",
    ("stage", "string", "Stage of the task."),
    ("partition", "int", "Partition of the task."),
    ("seed", "long", "Seed of random choices, besides execution, node and path."),
    ("number", "long", "Counts commits with something to keep from 1; offsets name it. 0 where there is nothing."),
    (
        "inputs",
        _array(
            _record("Input", "An input partition.", ("topic", "string", "Topic."), ("partition", "int", "Partition."))
        ),
        "Input partitions; steps refer to them by index.",
    ),
    (
        "steps",
        _array(
            _record(
                "Step",
                "Records processed together.",
                ("input", "int", "Which input."),
                ("first", "long", "First offset."),
                ("count", "long", "Offsets from there on, gaps included."),
                ("now_ms", "long", "The clock, read once for the step."),
                ("with_previous", "boolean", "Merged row by row with the entry before, as one step."),
                ("idle", _array("int"), "Inputs held to be idle from this step on."),
                ("woke", "boolean", "No records: operators acted that wait for the clock."),
                ("late", _array(_LATE), "Calls of users' functions that were not over in time."),
            )
        ),
        "Steps in the order processed.",
    ),
    ("open", _array(_OPEN), "Of the first of `inputs`, in their order, after the commit."),
    (
        "time",
        [
            "null",
            _record(
                "TaskTime",
                "Event time after the commit.",
                ("watermark_ms", "long", "The task's watermark."),
                ("told_more", ["null", "boolean"], "What its markers said last of whether it has more to read."),
                ("inputs", _array(_INPUT_TIME), "The first of `inputs`, in their order."),
            ),
        ],
        "Null where the stage needs no watermark.",
    ),
)
_VALUE = AvroValue(SCHEMA, version=VERSION)
