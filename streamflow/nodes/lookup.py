"""lookup: items of a stream with what a table knows of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from streamflow.model.batch import KEY, TS, WM
from streamflow.nodes.global_lookup import GlobalLookup
from streamflow.nodes.lookup_params import LookupBase
from streamflow.nodes.tables import first_given
from streamflow.operators.table_lookup import STORE
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, NodeSpec, Port, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(LookupBase):
    """Give each item the fields of the table's row that has its key at that moment.

    The table comes in as changes: items at `table` replace the row with their key, items at `gone` take it away. They
    give nothing; only items at `in` do, one each. An item finds the changes whose event times lie before its own; of
    those with one time, input by input, and of what arrives as one, the table changes first. A change that comes later
    changes nothing about items that have gone.

    A global table (`table` with `scope: global`) has its changes read by each task itself: items stay where they are,
    `key` may be any expression, and port `gone` is left alone.

    inner: items without a row are filtered. left: they stay, with nulls. An item with a null key has no row. Changes
    with a null key are filtered.
    """

    spec: ClassVar = NodeSpec(
        kind="lookup",
        category="keyed",
        inputs=(
            Port(name="in", keyed=True, help="Items that look a row up."),
            Port(name="table", keyed=True, help="Rows of the table that are there from now on."),
            Port(
                name="gone",
                keyed=True,
                optional=True,
                beside="table",
                help="Items whose keys are not there any more.",
            ),
        ),
        outputs=(Port(name="out"),),
        stores=(Store(name=STORE, help="The latest row of each key of the table."),),
        needs=(KEY, TS, WM),
        icon="search",
        example="named: {type: lookup, key: carrier, table_key: code, prefix: carrier_, join: left}",
    )

    def port_key(self, port: str) -> Expression | None:
        found: Expression = getattr(self, self.key_params()[port])
        return found

    def looking_into(self, port: str, table: Node) -> Node | None:
        key = table.port_key("in")
        if port != "table" or key is None:
            return None
        params: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return GlobalLookup(**params, global_key=key.text)

    def key_params(self) -> dict[str, str]:
        """The parameter that holds the key, by port, in the order of changes at one place."""
        return {
            "gone": first_given(self, ("gone_key", "table_key", "key")),
            "table": first_given(self, ("table_key", "key")),
            "in": "key",
        }
