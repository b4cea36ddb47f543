"""What stands around an operator because of its node's error policy: retries in place or later, a circuit breaker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamflow.model.batch import DEADLINE, WM
from streamflow.model.types import Schema
from streamflow.operators.acting import RATE
from streamflow.runtime.breaking import Breaking
from streamflow.runtime.delaying import Delaying
from streamflow.runtime.parking import Parking
from streamflow.runtime.retry_rule import RetryRule
from streamflow.runtime.retrying import Retrying
from streamflow.sdk.operator import Commits, EndsExecutions, Operator, Timed
from streamflow.topology.failures import BREAKER, DELAYED, PARKED
from streamflow.topology.plan import NodePlan, StagePlan

_BESIDE = (PARKED, DELAYED, BREAKER, RATE)  # stores that hold nothing that an operator made of rows
_OWN_STATE = (Timed, EndsExecutions, Commits)


def guarded(
    plan: NodePlan,
    operator: Operator,
    stage: StagePlan,
    *,
    vars: Mapping[str, object],
    kept: Mapping[str, Schema],
    pause: Callable[[float], None],
) -> Operator:
    """The operator as its policy wants it. One that keeps rows itself, or has several inputs, stays as it is: what
    fails there is not tried again.

    `kept`: schemas behind `nodes.<id>`. `pause`: waits so many seconds.
    """
    own = any(name not in _BESIDE for name in plan.stores) or isinstance(operator, _OWN_STATE)
    if own or len(plan.wires) != 1:
        return operator
    ((port, schema),) = ((p, plan.inputs[p]) for p in plan.wires)
    errors = plan.errors
    if errors.retry.attempts > 1:
        rule = RetryRule(plan.id, errors.retry, schema, vars)
        tells_time = WM in stage.needs
        if errors.retry.parks:
            return Parking(
                operator, rule, port, schema, kept, tells_time=tells_time, has_deadlines=DEADLINE in stage.needs,
                remembered=plan.remembered,
            )  # fmt: skip
        if errors.retry.delays:
            return Delaying(operator, rule, port, schema, kept, tells_time=tells_time, remembered=plan.remembered)
        operator = Retrying(operator, rule, pause)
    return operator if errors.breaker is None else Breaking(operator, errors.breaker, plan.id)
