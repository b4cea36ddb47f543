"""Parameters of table joins, of whole ones and of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamflow.nodes.tables import first_given
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, param

_KEYS = {
    "left_gone": ("left_gone_key", "left_key", "key"),
    "left": ("left_key", "key"),
    "right_gone": ("right_gone_key", "right_key", "key"),
    "right": ("right_key", "key"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJoinBase(Node):
    """What all of them are told."""

    key: Expression | None = param(default=None, help="The key of both sides, where it is the same expression.")
    left_key: Expression | None = param(default=None, help="The key of the left side. Left out: `key`.")
    right_key: Expression | None = param(default=None, help="The key of the right side. Left out: `key`.")
    left_gone_key: Expression | None = param(
        default=None, help="The key of items at `left_gone`. Left out: that of the left side."
    )
    right_gone_key: Expression | None = param(
        default=None, help="The key of items at `right_gone`. Left out: that of the right side."
    )
    foreign_key: Expression | None = param(
        default=None, help="Of left rows: the key of the right row that each belongs to; null for none."
    )
    join: Literal["inner", "left", "outer"] = param(
        default="inner", help="Which keys the result has. outer goes with keys of both sides only."
    )
    prefix: str = param(default="", help="Put before the names of the right side's fields.")

    def port_key(self, port: str) -> Expression | None:
        found: Expression | None = getattr(self, self.key_params(port)[port])
        return found

    def key_params(self, *ports: str) -> dict[str, str]:
        """The parameter that holds the key, by port."""
        return {port: first_given(self, _KEYS[port]) for port in ports}

    def makes_new_items(self) -> bool:
        return True

    def scatters_executions(self) -> bool:
        return False
