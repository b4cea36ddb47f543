"""Operators: the columnar kernels that tasks run. No I/O, no clock, no randomness except through `Context`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from streamflow.model.batch import Batch
from streamflow.sdk.state import StateStore

# `@row` of rows that come out of state: no input record of this step stands for them; sorts after all that arrived.
NO_ROW = 2**32 - 1


@dataclass(slots=True, kw_only=True)
class Result:
    """What an operator made of its input rows. Each input row has one fate: forwarded, filtered, failed or absorbed.

    `outputs`: port -> batch, in the order of arrival (`@row`, then `@path`). Reserved columns are carried through.
    `failed`: input rows that failed, with `@error_code` and `@error_message`; the runtime applies the error policy.
    `filtered`: input rows that leave no child. `absorbed`: input rows kept in state. `emitted`: output rows out of
    state.
    """

    outputs: Mapping[str, Batch] = field(default_factory=dict)
    failed: Batch | None = None
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0


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
