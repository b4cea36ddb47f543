"""User, session and trace of executions, as the records that began them say: written once, with what begins each.

Only workflows whose policy `context` names headers pay for it: a call for each execution that leaves a record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from streamflow.expressions.context import TRACEPARENT, header_of, trace_of
from streamflow.runtime.execution_counts import Ints, Who
from streamflow.runtime.execution_samples import REDACTED
from streamflow.sdk.expression import META_VARS
from streamflow.topology.plan import Topology

NAMES: Final = ("user", "session", "trace")


def headers_of(topology: Topology) -> Mapping[str, str]:
    """Which header tells what, by name; empty where the workflow's policies name none."""
    given = _meta(topology).get("headers")
    return {"trace": TRACEPARENT, **given} if isinstance(given, dict) and given else {}


def environment_of(topology: Topology) -> str | None:
    """The environment that the workflow was compiled for."""
    found = _meta(topology).get("environment")
    return None if found is None else str(found)


def contexts(
    given: Sequence[tuple[Who, pl.Series]], place: Callable[[Who], Ints], headers: Mapping[str, str],
    redact: Collection[str], count: int,
) -> pl.DataFrame:  # fmt: skip
    """NAMES of each of `count` entries. `given`: rows of triggers and their headers. `place`: the entry of each row, or
    -1. Of an execution of several items the first one tells.
    """
    found: list[list[str | None]] = [[None] * count for _ in NAMES]
    known = np.zeros(count, np.bool_)
    for who, column in given:
        entries = place(who)
        _, first = np.unique(entries, return_index=True)
        first = np.sort(first[(entries[first] >= 0) & ~known[entries[first]]])
        known[entries[first]] = True
        for entry, values in zip(entries[first].tolist(), column[first].to_list(), strict=True):
            for n, name in enumerate(NAMES):
                found[n][entry] = told(values or [], name, headers, redact)
    return pl.DataFrame([pl.Series(name, found[n], dtype=pl.String) for n, name in enumerate(NAMES)])


def told(values: list[dict[str, object]], name: str, headers: Mapping[str, str], redact: Collection[str]) -> str | None:
    """What headers tell of one of NAMES, as records of executions may show it."""
    header = headers.get(name)
    if header is None:
        return None
    read = trace_of if name == "trace" and header == TRACEPARENT else header_of
    value = read(values, header)
    return REDACTED if value is not None and name in redact else value


def _meta(topology: Topology) -> Mapping[str, object]:
    known = topology.vars.get(META_VARS)
    return known if isinstance(known, dict) else {}
