"""Avro schemas of Nexmark events."""

from __future__ import annotations

from typing import Any, Final

_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}


def _record(name: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "namespace": "nexmark",
        "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
    }


PERSON: Final = _record(
    "Person",
    id="long",
    name="string",
    emailAddress="string",
    creditCard="string",
    city="string",
    state="string",
    dateTime=_TIME,
    extra="string",
)
AUCTION: Final = _record(
    "Auction",
    id="long",
    itemName="string",
    description="string",
    initialBid="long",
    reserve="long",
    dateTime=_TIME,
    expires=_TIME,
    seller="long",
    category="long",
    extra="string",
)
BID: Final = _record(
    "Bid",
    auction="long",
    bidder="long",
    price="long",
    channel="string",
    url="string",
    dateTime=_TIME,
    extra="string",
)
ENVELOPE: Final = _record(
    "NexmarkEvent", seq="long", eid="long", arrival=_TIME, event_type="int", body=[PERSON, AUCTION, BID]
)
