"""The functions of w1_item and w1_frame: W1's map in Python."""

from __future__ import annotations

from typing import Any

import polars as pl

_KEPT = ("id", "ts", "customer", "country")


def price_item(order: dict[str, Any]) -> dict[str, Any]:
    total = order["amount"] * order["qty"]
    return {
        "id": order["id"],
        "ts": order["ts"],
        "customer": order["customer"],
        "country": order["country"],
        "total": total,
        "tier": "gold" if total > 500 else "std",
    }


def price_frame(orders: pl.DataFrame) -> pl.DataFrame:
    total = pl.col("amount") * pl.col("qty")
    tier = pl.when(total > 500).then(pl.lit("gold")).otherwise(pl.lit("std"))
    return orders.select("@row", *_KEPT, total.alias("total"), tier.alias("tier"))
