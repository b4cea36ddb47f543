"""States of executions do not depend on the order in which stages are read, and are final only when nothing is left."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.types import frame_schema
from streamflow.runtime.execution_states import Reach, States, fold, statuses
from streamflow.topology.envelopes import EXECUTION

_DTYPES = frame_schema(EXECUTION)
REACH = Reach({"start": frozenset(["s0"])})


@dataclass
class Tale:
    """Records of one execution in an order in which they may happen, made by simulated stages."""

    draw: random.Random
    stages: int
    tasks: int
    records: list[dict[str, object]] = field(default_factory=list)
    failed: int = 0  # dead letters that nobody has resumed
    cancelled: int = 0
    timed_out: int = 0
    resumes: bool = True
    dead: dict[tuple[int, int], int] = field(default_factory=dict)  # the same by stage and task

    @property
    def end(self) -> str:
        """How it stands when nothing is left."""
        return end_of(self.failed, self.cancelled, self.timed_out)

    def tell(self) -> None:
        """Rows start in stage 0; each stage passes what it gets to later stages, in parts, by several tasks."""
        waiting: dict[tuple[int, int], int] = {}  # rows on the topic to a stage, by task
        self._step(0, 0, begun=self.draw.randrange(1, 4), waiting=waiting)
        while any(waiting.values()) or any(self.dead.values()):
            resumable = [place for place, rows in self.dead.items() if rows and self.resumes]
            moving = [place for place, rows in waiting.items() if rows]
            if resumable and (not moving or self.draw.random() < 0.3):
                if not moving and self.draw.random() < 0.3:
                    break  # what is left stays failed
                place = self.draw.choice(resumable)
                rows = self.draw.randrange(1, self.dead[place] + 1)
                self.dead[place] -= rows
                self._step(*place, resumed=rows, waiting=waiting)
                continue
            if not moving:
                break
            stage, task = self.draw.choice(moving)
            rows = self.draw.randrange(1, waiting[stage, task] + 1)
            waiting[stage, task] -= rows
            self._step(stage, task, received=rows, waiting=waiting)

    def _step(
        self, stage: int, task: int, *, waiting: dict[tuple[int, int], int], begun: int = 0, received: int = 0,
        resumed: int = 0,
    ) -> None:  # fmt: skip
        edges = [{"topic": f"to-{stage}", "received": received, "sent": 0}] if received else []
        failed = cancelled = timed_out = 0
        for _ in range(begun + received + resumed):
            fate = self.draw.random()
            if fate < 0.1:
                failed += 1
            elif fate > 0.96:
                cancelled += 1
            elif fate > 0.92:
                timed_out += 1
            elif fate < 0.8:
                for to in range(stage + 1, self.stages):
                    if self.draw.random() < 0.6:
                        place = to, self.draw.randrange(self.tasks)
                        waiting[place] = waiting.get(place, 0) + 1
                        edges.append({"topic": f"to-{to}", "received": 0, "sent": 1})
        self.failed += failed - resumed
        self.cancelled += cancelled
        self.timed_out += timed_out
        self.dead[stage, task] = self.dead.get((stage, task), 0) + failed
        self.records.append(
            {
                "execution": "e", "stage": f"s{stage}", "partition": task, "trigger": "start" if begun else "",
                "begun": begun, "received": received, "sent": sum(int(str(e["sent"])) for e in edges), "failed": failed,
                "cancelled": cancelled, "timed_out": timed_out, "resumed": resumed, "edges": edges,
                "at": len(self.records),
            }
        )  # fmt: skip


def end_of(failed: int, cancelled: int, timed_out: int) -> str:
    """How it stands when nothing is left."""
    if failed or cancelled:
        return "failed" if failed else "cancelled"
    return "timed_out" if timed_out else "completed"


def frame(records: list[dict[str, object]]) -> pl.DataFrame:
    """The records with everything that they do not say at nothing."""
    usual: dict[str, object] = {
        "samples": [], "topic": "t", "topic_partition": 0, "offset": 0, "waiting": 0, "kept": 0, "cancelled": 0,
        "timed_out": 0, "resumed": 0, "woken": False,
        "bounded": False, "ended": False, "tasks": 0, "nodes": [],
        **dict.fromkeys(("error_code", "error_message", "error_node", "user", "session", "trace", "environment")),
    }  # fmt: skip
    columns = {name: [(usual | record)[name] for record in records] for name in _DTYPES}
    return pl.DataFrame(columns, schema={**_DTYPES, "at": pl.Int64}).with_columns(pl.col("at").cast(_DTYPES["at"]))


def told(seed: int, stages: int, tasks: int, *, resumes: bool = True) -> Tale:
    tale = Tale(random.Random(seed), stages, tasks, resumes=resumes)
    tale.tell()
    return tale


def state_of(states: States) -> tuple[object, ...]:
    return statuses(states, REACH).select("status", "settled", "records", "began_ms", "last_ms").row(0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 4), st.integers(1, 3))
def test_any_order_of_stages_gives_the_same_final_state(seed: int, stages: int, tasks: int) -> None:
    """Method: shuffle the records, each task's in their order; add them up; compare with the order of events."""
    tale = told(seed, stages, tasks)
    expected = state_of(States.none().plus(States.of(frame(tale.records))))
    queues: dict[object, list[dict[str, object]]] = {}
    for record in tale.records:
        queues.setdefault((record["stage"], record["partition"]), []).append(record)
    shuffled = []
    while queues:
        place = tale.draw.choice(sorted(queues, key=str))
        shuffled.append(queues[place].pop(0))
        if not queues[place]:
            del queues[place]
    states = States.none()
    for record in shuffled:
        states = states.plus(States.of(frame([record])))
    assert state_of(states) == expected
    assert expected[:3] == (tale.end, True, len(tale.records))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 4), st.integers(1, 3))
def test_no_order_of_events_makes_an_illegal_transition_or_a_status_too_early(
    seed: int, stages: int, tasks: int
) -> None:
    tale = told(seed, stages, tasks)
    states = States.none()
    for at in range(len(tale.records)):
        states = fold(states, frame([tale.records[at]]), REACH)
        status, settled, *_ = state_of(states)
        so_far = tale.records[: at + 1]
        moving = sum(e["sent"] - e["received"] for r in so_far for e in r["edges"])  # type: ignore[attr-defined]
        assert settled == (moving == 0)
        failed, resumed, *ended = (
            sum(int(str(r[name])) for r in so_far) for name in ("failed", "resumed", "cancelled", "timed_out")
        )
        end = end_of(failed - resumed, *ended)
        assert status == (end if settled or end == "failed" else "running")


def test_only_what_came_later_may_end_it() -> None:
    """Each record of a tale matters: without any one of those behind the first it does not look settled."""
    tale = told(5, 4, 2, resumes=False)
    assert len(tale.records) > 3
    for gone in range(1, len(tale.records)):
        rest = [record for i, record in enumerate(tale.records) if i != gone]
        assert state_of(States.none().plus(States.of(frame(rest))))[1] is False
