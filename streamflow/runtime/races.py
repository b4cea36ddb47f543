"""What a task says of races that its gathers decide: on the control topic, with what the step writes.

A branch that has lost is said when rows of the execution are still on their way, and that it is over when none is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamflow.model.positions import TopicPartition
from streamflow.operators.lost_branches import BRANCH_LOST, BRANCH_OVER
from streamflow.runtime.cancels import ControlRecord, encode_orders
from streamflow.runtime.emit import Writes
from streamflow.runtime.graph import Graph
from streamflow.sdk.operator import Races
from streamflow.topology.plan import RacePlan, StagePlan

_ORDERS_MAX: Final = 500  # of one record batch


def decided(stage: StagePlan, graph: Graph) -> list[ControlRecord]:
    """What the gathers of a stage decided since the last call."""
    return [one for race in stage.races for one in _of(race, graph)]


def writes(stage: StagePlan, said: list[ControlRecord], now_ms: int) -> Writes:
    """Records of the control topic. `now_ms`: of the step."""
    at = TopicPartition(stage.control, 0)
    found: Writes = {}
    for first in range(0, len(said), _ORDERS_MAX):
        found.setdefault(at, []).extend(encode_orders(said[first : first + _ORDERS_MAX], now_ms))
    return found


def _of(race: RacePlan, graph: Graph) -> Iterator[ControlRecord]:
    operator = graph.operator(race.node)
    assert isinstance(operator, Races), race.node
    merge = race.node.rpartition(".")[0]
    for execution, side, over in operator.take_decided():
        losers = [s for s in race.branches if s != side]
        nodes = tuple(dict.fromkeys(n for s in losers for n in race.branches[s]))
        if nodes:
            action, reason = (BRANCH_OVER, None) if over else (BRANCH_LOST, f"{side!r} was first at {merge!r}")
            yield ControlRecord(
                execution=execution, action=action, nodes=() if over else nodes, reason=reason, by=merge
            )
