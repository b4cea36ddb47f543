"""Nexmark: an online auction as a stream of events, the same to the byte for the same parameters.

Persons register, open auctions and bid. Which event has which content is in `nexmark_content`; here they come in an
order of arrival, which may differ from that of their times. `python -m streamflow.testing.nexmark` writes a file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np
import orjson

from streamflow.sdk.errors import UsageError
from streamflow.testing.nexmark_content import KINDS, Body, bodies, kind_of, time_ms
from streamflow.testing.nexmark_draws import Draws, Int64s
from streamflow.testing.nexmark_schema import ENVELOPE

_CHUNK_EVENTS: Final = 50_000  # made at once: bounds memory
_ARRIVAL_STREAM: Final = 1 << 62
_SHUFFLE: Final = 953


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexmark:
    """Parameters of a stream of events.

    `rate`: events per second of event time; up to 1000 no two share a millisecond. `group`: so many events that follow
    each other arrive shuffled, the same way each time; 1 leaves the order of their times. `delay_probability`: how many
    arrive `delay_ms` later than the others. Neither changes the set of events.

    Raises:
        UsageError: a parameter is out of its range.
    """

    events: int
    seed: int = 1
    rate: int = 1000
    group: int = 1
    delay_probability: float = 0.0
    delay_ms: int = 0

    def __post_init__(self) -> None:
        if self.events < 0 or self.seed < 0 or self.rate < 1 or self.group < 1 or self.delay_ms < 0:
            raise UsageError(f"{self}: counts and times are not negative, rate and group at least 1.")
        if self.group % _SHUFFLE == 0:
            raise UsageError(f"group {self.group} is a multiple of {_SHUFFLE}.", mend="Take another size.")
        if not 0 <= self.delay_probability <= 1:
            raise UsageError(f"delay_probability {self.delay_probability} is not between 0 and 1.")


def events(stream: Nexmark) -> Iterator[dict[str, Any]]:
    """All events in order of arrival: {seq, eid, arrival, event_type, person | auction | bid}.

    `seq` counts from 0, `eid` is the event's number, `arrival` and all times are epoch ms, `event_type` is 0 person,
    1 auction, 2 bid, prices are cents. Keys are in the order of the Avro schema.
    """
    number, arrival = arrivals(stream)
    for start in range(0, stream.events, _CHUNK_EVENTS):
        part = number[start : start + _CHUNK_EVENTS]
        kinds = kind_of(part)
        made: list[Body] = [{}] * len(part)
        for kind in range(len(KINDS)):
            at = np.flatnonzero(kinds == kind)
            for i, body in zip(at.tolist(), bodies(kind, part[at], seed=stream.seed, rate=stream.rate), strict=True):
                made[i] = body
        times = arrival[start : start + _CHUNK_EVENTS].tolist()
        rows = zip(part.tolist(), times, kinds.tolist(), made, strict=True)
        for seq, (eid, arrived, kind, body) in enumerate(rows, start):
            yield {"seq": seq, "eid": eid, "arrival": arrived, "event_type": kind, KINDS[kind]: body}


def lines(stream: Nexmark) -> Iterator[bytes]:
    """All events in order of arrival as JSON, a line each: ASCII, no blanks, the line's end included."""
    for event in events(stream):
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def avro_records(stream: Nexmark) -> Iterator[dict[str, Any]]:
    """All events in order of arrival as fastavro writes them with the schema `nexmark_schema.ENVELOPE`."""
    for event in events(stream):
        kind = KINDS[event["event_type"]]
        body = event.pop(kind)
        yield {**event, "body": (f"nexmark.{kind.capitalize()}", body)}


def arrivals(stream: Nexmark) -> tuple[Int64s, Int64s]:
    """(event number, epoch ms of arrival), both of shape [events], in order of arrival."""
    slot = np.arange(stream.events, dtype=np.int64)
    first = slot - slot % stream.group
    whole = first + stream.group <= stream.events
    number = np.where(whole, first + slot * _SHUFFLE % stream.group, slot)
    arrival = time_ms(slot, stream.rate)
    if stream.delay_probability:
        draws = Draws(stream.seed, np.uint64(_ARRIVAL_STREAM) + slot.astype(np.uint64))
        arrival = arrival + np.where(draws.unit() < stream.delay_probability, stream.delay_ms, 0)
    order = np.argsort(arrival, kind="stable")
    return number[order], arrival[order]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m streamflow.testing.nexmark", description="Write Nexmark events.")
    parser.add_argument("--events", type=int, required=True, help="how many")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--avro", action="store_true", help="write an Avro container file, not JSON lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=1000, help="events per second of event time")
    parser.add_argument("--group", type=int, default=1, help="so many events arrive shuffled")
    parser.add_argument("--delay-probability", type=float, default=0.0, help="share of events that arrive later")
    parser.add_argument("--delay-ms", type=int, default=0, help="how much later")
    given = vars(parser.parse_args())
    out, avro = given.pop("out"), given.pop("avro")
    stream = Nexmark(**given)
    with out.open("wb") as file:
        if avro:
            fastavro.writer(file, fastavro.parse_schema(ENVELOPE), avro_records(stream))
        else:
            file.writelines(lines(stream))


if __name__ == "__main__":
    main()
