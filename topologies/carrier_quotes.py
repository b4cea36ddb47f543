"""What an example calls: a carrier that may not answer."""

from __future__ import annotations

import threading
from typing import Any


def quote(order: dict[str, Any]) -> dict[str, Any]:
    """The order with what its carrier asks for it. The carrier `silent` never answers."""
    if order["carrier"] == "silent":
        threading.Event().wait()
    return {**order, "price": order["weight"] * 3}
