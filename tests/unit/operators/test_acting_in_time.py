"""Effects with a limit of time: what is late fails its item alone, with a code of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from streamflow.nodes.notification import _one_by_one
from streamflow.operators.acting import Wrong
from streamflow.runtime.late_calls import CallLog
from streamflow.runtime.timed_calls import TimedCalls


def test_a_message_that_is_late_fails_alone() -> None:
    gate = threading.Event()

    def send(rows: Sequence[Mapping[str, object]]) -> list[Wrong]:
        (row,) = rows
        if row["title"] == "hangs":
            gate.wait()
        return ["no" if row["title"] == "refused" else ""]

    act = _one_by_one(TimedCalls("tell", send, 100, CallLog()))
    said = act([{"title": title} for title in ("fine", "hangs", "refused", "fine")])
    assert said == ["", ("timed_out", "the call was not over within 100 ms (timeout)."), "no", ""]
    gate.set()
