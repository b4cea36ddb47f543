"""The page of Nexmark figures: a row and two bars for each query, and what is committed is that of the results."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks.nexmark_page import HERE, PAGE_FOLDER, _tick, page, picture


def report(**rates: tuple[float, float]) -> dict[str, object]:
    def of(rate: float) -> dict[str, float]:
        return {"records_per_s": rate, "cpu_us_per_record_run": 1e6 / rate}

    return {
        "machine": {"cores": 2, "python": "3.11", "processor": "A"},
        "versions": {"polars": "2", "kafka": "4"},
        "guarantee": "exactly_once",
        "events": 1_000,
        "queries": {
            query: {"median": {"embedded": of(a), "kafka": of(b)}, "runs": {"embedded": [of(a)], "kafka": [of(b)]}}
            for query, (a, b) in rates.items()
        },
    }


def test_each_query_has_its_row_and_its_bars() -> None:
    figures = report(q0=(400_000, 200_000), q11=(100_000, 50_000))
    assert "| q11 | sessions of users | 100,000 | 10.00 | 50,000 | 20.00 |" in page(figures)
    bars = ElementTree.fromstring(picture(figures)).iterfind("{*}rect")
    widths = [float(bar.get("width", "")) for bar in bars if bar.get("height") == "15"]
    assert widths == pytest.approx([544, 272, 136, 68])


@pytest.mark.parametrize(("best", "step"), [(1, 1), (5, 1), (6, 2), (24, 5), (26, 10), (1_234_567, 500_000)])
def test_ticks_are_round_and_few(best: float, step: int) -> None:
    assert _tick(best) == step


def test_the_page_in_docs_is_that_of_the_results() -> None:
    results = HERE / "results" / "nexmark.json"
    if not results.exists():
        pytest.skip("not measured yet")
    figures = json.loads(results.read_text())
    assert (PAGE_FOLDER / "nexmark.md").read_text() == page(figures)
    assert (PAGE_FOLDER / "nexmark.svg").read_text() == picture(figures)
