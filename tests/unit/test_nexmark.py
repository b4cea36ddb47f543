"""The Nexmark generator is the one that its description pins down, to the byte."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from streamflow.sdk.errors import UsageError
from streamflow.testing.nexmark import Nexmark, arrivals, avro_records, events, lines
from streamflow.testing.nexmark_content import time_ms
from streamflow.testing.nexmark_draws import Draws, sequence
from streamflow.testing.nexmark_schema import ENVELOPE

OUT_OF_ORDER = Nexmark(events=1_000, group=50, delay_probability=0.1, delay_ms=3000)


@pytest.mark.parametrize(
    ("stream", "sha256"),
    [
        (Nexmark(events=1_000), "f96f6a6aab2267fba19d4d6a16d2632126b7b824f31bec92de8f33f4a7bb2d42"),
        (OUT_OF_ORDER, "f4509987e26a398b2ac00c8576513a2a816bb001c4d79356560f9e7f3cb9d1c1"),
        (Nexmark(events=100_000), "ccf30923ff340facd6e9b3636a1eb5fcf39e0d445d81759e15bea080ab93fc64"),
        (
            Nexmark(events=100_000, seed=3, rate=10_000),
            "923fc425522789329fa68b471dc6f36cd838c584b547114e52512864b95b073a",
        ),
    ],
    ids=["1,000", "out of order", "100,000", "seed 3"],
)
def test_events_are_the_same_to_the_byte(stream: Nexmark, sha256: str) -> None:
    digest = hashlib.sha256()
    for line in lines(stream):
        digest.update(line)
    assert digest.hexdigest() == sha256


def test_random_numbers_are_splitmix64() -> None:
    wanted = [0x5CFCC391B726F0D3, 0xB5A7A1DDB1B02993, 0x8CB42EE71E45998C]
    assert sequence(1, 0, 3).tolist() == wanted
    draws = Draws(1, np.arange(2, dtype=np.uint64))
    assert [int(draws.next()[0]) for _ in wanted] == wanted


def test_rows_that_do_not_draw_keep_their_place() -> None:
    first, second = sequence(1, 0, 2).tolist(), sequence(1, 1, 1).tolist()
    draws = Draws(1, np.arange(2, dtype=np.uint64))
    assert int(draws.next(np.array([True, False]))[0]) == first[0]
    assert draws.next().tolist() == [first[1], second[0]]


def test_kinds_come_1_to_3_to_46() -> None:
    assert Counter(e["event_type"] for e in events(Nexmark(events=1_000))) == {0: 20, 1: 60, 2: 920}


def test_order_of_arrival_changes_no_event() -> None:
    def by_number(stream: Nexmark) -> list[object]:
        found = sorted(events(stream), key=lambda e: e["eid"])
        return [{k: v for k, v in e.items() if k not in ("seq", "arrival")} for e in found]

    assert by_number(OUT_OF_ORDER) == by_number(Nexmark(events=1_000))


def test_no_event_is_more_than_four_seconds_behind() -> None:
    stream = Nexmark(events=20_000, group=50, delay_probability=0.1, delay_ms=3000)
    times = time_ms(arrivals(stream)[0], stream.rate)
    behind = np.maximum.accumulate(times) - times
    assert 3000 <= behind.max() <= 4000


def test_a_last_group_that_is_short_stays_in_order() -> None:
    assert arrivals(Nexmark(events=14, group=10))[0].tolist() == [0, 3, 6, 9, 2, 5, 8, 1, 4, 7, 10, 11, 12, 13]


def test_avro_holds_what_json_holds() -> None:
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(ENVELOPE), avro_records(OUT_OF_ORDER))
    file.seek(0)
    found: list[dict[str, Any]] = [r for r in fastavro.reader(file) if isinstance(r, dict)]
    for record, event in zip(found, events(OUT_OF_ORDER), strict=True):
        *plain, kind = event
        assert _times_as_ms({**{k: record[k] for k in plain}, kind: _times_as_ms(record["body"])}) == event


def _times_as_ms(record: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v.timestamp() * 1000) if isinstance(v, datetime) else v for k, v in record.items()}


@pytest.mark.parametrize(
    "wrong", [{"group": 1906}, {"rate": 0}, {"delay_probability": 1.5}, {"delay_ms": -1}, {"seed": -1}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Nexmark(events=1, **wrong)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    command = [sys.executable, "-m", "streamflow.testing.nexmark", "--events", "100", "--out", str(out), "--group", "7"]
    subprocess.run(command, check=True)
    assert out.read_bytes() == b"".join(lines(Nexmark(events=100, group=7)))
