"""The state machine of executions, as drawn."""

from __future__ import annotations

import pytest

from streamflow.model.execution_status import EXECUTION_STATUSES, LEGAL, WHEN_WOKEN, ExecutionStatus, legal

FINAL = ("completed", "failed", "cancelled", "timed_out")


@pytest.mark.parametrize("status", EXECUTION_STATUSES)
def test_nothing_becomes_pending_again_and_to_stay_is_legal(status: ExecutionStatus) -> None:
    assert legal(status, status)
    assert status == "pending" or not legal(status, "pending", woken=True)


@pytest.mark.parametrize("status", ["pending", "running", "waiting"])
def test_what_is_open_may_end_in_every_way(status: ExecutionStatus) -> None:
    assert LEGAL[status] == {"running", "waiting", *FINAL} - {status}


@pytest.mark.parametrize("status", FINAL)
def test_an_execution_that_failed_is_not_woken(status: ExecutionStatus) -> None:
    assert not LEGAL[status]
    woken = {other for other in EXECUTION_STATUSES if other != status and legal(status, other, woken=True)}
    goes_on = {"running", "waiting", "failed"}
    ends = {"completed": {"cancelled", "timed_out"}, "timed_out": {"cancelled"}, "cancelled": set()}
    assert woken == (set() if status == "failed" else goes_on | ends[status])
    assert set(WHEN_WOKEN) == {"completed", "cancelled", "timed_out"}
