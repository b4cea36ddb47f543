"""Policies: what a workflow says about errors, commits and retries. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Guarantee = Literal["exactly_once", "at_least_once"]
Executions = Literal["none", "errors", "all"]  # which executions leave a record
OnError = Literal["stop", "continue", "dead_letter", "error_port"]
StateBackend = Literal["memory", "rocksdb"]
Extent = Literal["item", "run", "file", "request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """In-place retries of an item that failed; the total stays below half the transaction time-out."""

    attempts: int = 1  # 1: no retry
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPolicy:
    """What happens to an item that failed in a node."""

    on_error: OnError = "dead_letter"
    fallback: str = ""  # id of the node that takes failed items; then on_error is error_port
    retry: RetryPolicy = RetryPolicy()


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
