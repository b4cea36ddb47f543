"""Policies: what a workflow says about errors, commits and retries. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Guarantee = Literal["exactly_once", "at_least_once"]
Executions = Literal["none", "errors", "all"]  # which executions leave a record
Recovery = Literal["none", "commands"]  # whether executions can be retried, resumed, compensated
OnError = Literal["stop", "continue", "pass", "dead_letter", "error_port", "compensate"]
OnCancel = Literal["compensate", "drop"]
Handled = Literal["continue", "pass", "error_port", "cancelled", "timed_out", "breaker", "stop"]
Backoff = Literal["fixed", "linear", "exponential", "random"]
RetryMode = Literal["block", "park", "delay"]
LONGEST_MS: Final = 10 * 365 * 86_400_000  # no wait is longer, whatever its backoff makes of it
StateBackend = Literal["memory", "rocksdb"]
Extent = Literal["item", "run", "file", "request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingPolicy:
    """How much may be put aside; what exceeds it is a dead letter."""

    key_items_max: int = 10_000
    key_bytes_max: int = 16 << 20
    items_max: int = 100_000  # of a task
    bytes_max: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often an item that failed is tried again, and when.

    Mode `block`: at once, while all that comes behind it waits; the waits stay below half the transaction time-out.
    Mode `park`: it is put aside with what follows of its key, and tried again by the clock.
    Mode `delay`: it is put aside alone, and tried again by the clock; what follows of its key overtakes it.
    """

    attempts: int = 1  # 1: no retry
    delay_ms: int = 0
    backoff: Backoff = "fixed"
    delay_max_ms: int | None = None  # no wait is longer; for `random` the upper end
    jitter: float = 0.0  # each wait is longer or shorter by up to this part of it
    codes: tuple[str, ...] = ()  # only items that failed with one of these; none: with any
    when: str = ""  # expression over item and error; "": always
    limit_ms: int | None = None  # waits of an item, all together
    mode: RetryMode = "block"
    parking: ParkingPolicy = field(default_factory=ParkingPolicy)

    @property
    def parks(self) -> bool:
        return self.mode == "park" and self.attempts > 1

    @property
    def delays(self) -> bool:
        return self.mode == "delay" and self.attempts > 1

    @property
    def puts_aside(self) -> bool:
        """Whether items wait in state for their next try."""
        return self.parks or self.delays

    @property
    def draws(self) -> bool:
        """Whether chance has a part in its waits."""
        return self.attempts > 1 and (self.backoff == "random" or self.jitter > 0)

    def waits_ms(self) -> tuple[int, ...]:
        """The wait before each further try, without chance and `limit_ms`. For `random` the longest."""
        most = LONGEST_MS if self.delay_max_ms is None else self.delay_max_ms
        tries = range(self.attempts - 1)
        match self.backoff:
            case "fixed":
                grown = [self.delay_ms for _ in tries]
            case "linear":
                grown = [self.delay_ms * (n + 1) for n in tries]
            case "exponential":
                grown = [self.delay_ms << n for n in tries]
            case "random":
                grown = [most for _ in tries]
        return tuple(min(wait, most) for wait in grown)

    @property
    def waits_ms_max(self) -> int:
        """The longest that all waits together may be, were there no limit."""
        most = LONGEST_MS if self.delay_max_ms is None else self.delay_max_ms
        return sum(min(math.ceil(wait * (1 + self.jitter)), most) for wait in self.waits_ms())


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """After `failures` within `within_ms` a node gets no items for `probe_after_ms`, then one to see."""

    failures: int
    within_ms: int
    probe_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPolicy:
    """What happens to an item that failed in a node."""

    on_error: OnError = "dead_letter"
    fallback: str = ""  # id of the node that takes failed items; then on_error is error_port
    value: Mapping[str, object] | None = None  # fields that a failed item passes on with; then on_error is pass
    breaker: BreakerPolicy | None = None
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorWorkflow:
    """The workflow that hears of errors. `also`: policies whose items it hears of although they handle them."""

    file: str
    also: tuple[Handled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverPolicy:
    """What is done by itself for executions that failed: as the command of that name does it."""

    action: Literal["retry", "resume", "rollback", "compensate"]
    after_ms: int = 0  # since the dead letter was seen
    attempts: int = 3
    codes: tuple[str, ...] = ()  # only what failed with one of these; none: with any
    nodes: tuple[str, ...] = ()  # only what failed in one of these; none: in any
    to: str = ""  # rollback: the node before which it begins again; "": the last checkpoint


HELD_BYTES_MAX: Final = 256 << 20  # of a process: read or made, and not committed
HELD_EXECUTIONS_MAX: Final = 1_000_000  # of a process: begun, and not committed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """How tasks commit."""

    guarantee: Guarantee = "exactly_once"
    commit_interval_ms: int = 100
    pending_bytes_max: int = 32 << 20  # commit earlier when this much output waits
    step_bytes_max: int = 2 << 20  # encoded input of one step of a task
    input_wait_ms: int = 10_000  # the longest wait for rows of another input that are known to be on their way
    state: StateBackend = "memory"  # where tasks keep their stores
    standbys: int = 0  # workers beside its own that keep a task's state up to date, on Kafka
    weight: int = 1  # its part of what several workflows in one process share, beside the weights of the others
