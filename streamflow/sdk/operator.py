"""Operators: the columnar kernels that tasks run. No I/O, no clock, no randomness except through `Context`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from streamflow.model.batch import Batch
from streamflow.sdk.state import StateStore

# `@row` of rows that come out of state: no input record of this step stands for them; sorts after all that arrived.
NO_ROW = 2**32 - 1
# Codes of rows that end because their execution does; see `Result.ended`.
CANCELLED: Final = "cancelled"
EXECUTION_TIMED_OUT: Final = "execution_timed_out"
ENDING_CODES: Final = frozenset((CANCELLED, EXECUTION_TIMED_OUT))
OUTRUN: Final = "outrun"  # the same of rows whose branch has lost: the execution goes on, and no step is undone


@dataclass(slots=True, kw_only=True)
class Result:
    """What an operator made of its input rows. Each input row has one fate: forwarded, filtered, failed or absorbed.

    `outputs`: port -> batch, in the order of arrival (`@row`, then `@path`). Reserved columns are carried through.
    `failed`: input rows that failed, with `@error_code` and `@error_message`; the runtime applies the error policy.
    `filtered`: input rows that leave no child. `absorbed`: input rows kept in state. `emitted`: output rows out of
    state. `ended`: rows out of state that go nowhere, as their execution was cancelled or has had its time, with
    `@error_code` (CANCELLED, EXECUTION_TIMED_OUT, OUTRUN) and `@error_message`. Of an operator that `Waits`: `waiting`
    are the rows absorbed, where others were filtered in the same call; `woken` those that wait no longer, where not
    each of them is one output row or failed. `told`: rows at which something happened that error workflows may hear of,
    with `@error_code` and `@error_message`; they have a fate besides.
    """

    outputs: Mapping[str, Batch] = field(default_factory=dict)
    failed: Batch | None = None
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    ended: Batch | None = None
    waiting: Batch | None = None
    woken: Batch | None = None
    told: Batch | None = None


class Context(Protocol):
    """What an operator may use besides its rows. One per task; valid during the call."""

    @property
    def workflow(self) -> str: ...

    @property
    def stage(self) -> str: ...

    @property
    def node(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def now_ms(self) -> int:
        """Wall clock, read once a step and recorded in the journal."""
        ...

    @property
    def watermark_ms(self) -> int: ...

    def store(self, name: str) -> StateStore:
        """A store that the node's spec declares."""
        ...

    def random(self, execution: str, path: bytes = b"") -> np.random.Generator:
        """A generator seeded by (execution, node, path): the same in every replay."""
        ...


class Operator(Protocol):
    """A kernel. Called once a step with all input ports that have rows (rows of several wires already merged in order).

    Must be deterministic in its rows and state, and blind to how a stream is cut into steps.
    """

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result: ...


@runtime_checkable
class EndsExecutions(Protocol):
    """An operator that acts when a bounded execution (extent run, file, request) has ended."""

    def end(self, execution: str, ctx: Context) -> Result: ...


@runtime_checkable
class Settles(Protocol):
    """An operator that keeps rows until no more of their executions can come to it (see `topology.plan.FeedPlan`)."""

    def settle(self, executions: Sequence[str], rows: Sequence[int], ctx: Context) -> Result:
        """By how many the rows grew of each execution that are still on their way. Where none is left the rows of the
        execution come out (`emitted`), or fail. Their `@row` lies above that of all that entered in the step.
        """
        ...


@runtime_checkable
class Races(Protocol):
    """An operator that lets rows of one port of an execution pass, and may stop what the execution has elsewhere."""

    def take_decided(self) -> Sequence[tuple[str, str, bool]]:
        """(execution, the port that was first, whether no more of its rows can come) of what was decided since the last
        call: first that others have lost, and later that it is over.
        """
        ...


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How event time went on in one step: `watermark` at each row that entered the stage, and what it is behind all.

    `row` (`@row`, UInt32) and `watermark` (ms, Int64, never falling) have one entry a row; both are empty in a step
    without rows. `end_ms` is at least the last of `watermark`.
    """

    row: npt.NDArray[np.uint32]
    watermark: npt.NDArray[np.int64]
    end_ms: int

    def crossing(self, at_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """`@row` of the first row whose watermark has reached each of these times; NO_ROW where none has."""
        first = np.searchsorted(self.watermark, at_ms)
        return np.append(self.row, np.uint32(NO_ROW))[first]


@runtime_checkable
class Timed(Protocol):
    """An operator that acts when event time has passed some point: windows that close, joins that wait no longer."""

    holds_ms: int
    """How far behind the watermark the event times of its rows may lie that are still to come. What stands behind it
    sees a watermark that is so much lower.
    """

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Called once a step, behind `process`, whether rows came or not. Everything due at `times.end_ms` or earlier
        comes out; its `@row` is that of the row that crossed the time (see `crossing`), so that it stands before that
        row, and its `@wm` one below that time: it comes before time goes on.
        """
        ...


@runtime_checkable
class Waits(Protocol):
    """An operator that acts when the wall clock has passed some point, whether rows come or not: waits, pauses between
    tries. What it waits with is in its stores. Rows that it absorbs come out later under the execution that they had,
    or fail: as long as some are in it their executions are `waiting`.
    """

    def due_ms(self, ctx: Context) -> int | None:
        """The earliest wall time, in ms since 1970, at which it has something to do; None: nothing waits. It may be too
        early, never too late. Asked between steps, so that it has to be cheap: it must not go through all that waits.
        """
        ...

    def wake(self, ctx: Context) -> Result:
        """Called between steps when `due_ms` is not above `ctx.now_ms`, which is recorded in the journal: a replay
        wakes it at the same place with the same clock. It may leave some of what is due for another call, which comes
        before any row. Its outputs are out of state (`emitted`), in order, with `@row`
        numbering them from 0 and `@wm` (where rows have it) being `ctx.watermark_ms`; so is what `failed`.
        """
        ...


class EndedExecutions(Protocol):
    """Executions that are to end now."""

    def apart(self, rows: Batch) -> tuple[Batch, Batch | None]:
        """(rows that go on, rows that end, as `Result.ended` has them, in any order). `rows` have `@execution`."""
        ...


@runtime_checkable
class Holds(Protocol):
    """An operator that keeps rows to give each of them back later, whatever wakes it: it gives them up when their
    execution ends from outside.
    """

    def release(self, executions: EndedExecutions, ctx: Context) -> Result:
        """Called between steps when executions have been ended since the last call, and once at start with all that are
        known. Their rows go out of state as `ended`, numbered as `Waits.wake` does it; rows of others stay in their
        order. Nothing else of the result is looked at. It may go through all that it holds.
        """
        ...


@runtime_checkable
class Bounds(Protocol):
    """An operator that keeps rows waiting, but not any number of them."""

    def room(self, ctx: Context) -> Mapping[str, int]:
        """How many rows may come in by each port for now; one that is not named takes any number. Asked between steps,
        and of ports that topics feed: what it has no room for is not read.
        """
        ...

    def goes_on_by_itself(self, ctx: Context) -> bool:
        """Whether some of what waits goes on by the clock soon: a run to the end of its inputs waits for that."""
        ...


@runtime_checkable
class Commits(Protocol):
    """An operator with effects outside the log (file sinks) that follow the task's transaction."""

    def prepare(self, ctx: Context) -> None:
        """Before the commit: make staged effects durable and name them in the store (same transaction)."""
        ...

    def committed(self, ctx: Context) -> None:
        """After the commit, and once at start after restore: carry out what the store names, drop what it does not."""
        ...

    def closing(self, ctx: Context) -> None:
        """The task stops after its last commit's rows: finish open parts; a commit follows."""
        ...
