"""What is made of measurements: medians, spread, ratios, goals, the page, and two runs beside each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import bars  # noqa: E402
import compare  # noqa: E402
import goals  # noqa: E402
import harness  # noqa: E402
import page  # noqa: E402

HEAD = {"machine": {"cores": 2}, "versions": {"streamflow": "abc"}, "date": "2026-12-01 00:00"}


def rates(*values: float) -> list[dict[str, float]]:
    return [{"records_per_s": v, "cpu_us_per_record": 1e6 / v} for v in values]


def test_cells_are_summed_up_and_the_first_stands_beside_each_other_one() -> None:
    found: dict[str, Any] = harness.summed({"ours": rates(300, 200, 400), "theirs": rates(100, 200, 100), "gone": []})
    assert found["median"]["ours"]["records_per_s"] == 300
    assert found["spread"]["theirs"]["records_per_s"] == [100, 200]
    assert set(found["ratio"]) == {"theirs"}
    assert found["ratio"]["theirs"]["records_per_s"] == 3  # of 3, 1 and 4: pairs of runs, not medians of each
    assert "gone" not in found["runs"]


def test_ratios_need_figures_of_both() -> None:
    assert harness.ratios(rates(100), [{"records_per_s": 50.0}]) == {"records_per_s": 2}
    assert harness.ratios(rates(100), []) == {}
    assert harness.ratios([{"a": 1.0}], [{"a": 0.0}]) == {"a": float("inf")}


def results(**ratio: float) -> dict[str, Any]:
    question = {"runs": {"ours": rates(1)}, "median": {"ours": rates(500_000)[0], goals.STREAMS: rates(100_000)[0]}}
    return {"keyed": {**HEAD, "W2": {**question, "records": 7, "ratio": {goals.STREAMS: ratio}}}}


def test_a_goal_is_met_missed_or_not_measured() -> None:
    told = {
        (j.goal.about, j.goal.text): j.verdict for j in goals.judged(results(records_per_s=4.0, cpu_us_per_record=0.4))
    }
    assert told["W2", "Kafka Streams' rate"] == "met"
    assert told["W2", "Kafka Streams' CPU a record"] == "**missed**"
    assert told["W2", "Flink's rate"] == "not measured"
    assert told["W3", "Flink's rate"] == "not measured"


def test_how_flat_a_figure_is() -> None:
    cells = {str(n): {"median": {"streamflow": {"memory_peak_mb": m}}} for n, m in ((1, 200.0), (50, 250.0))}
    report = {"scale": {"records": {**cells, "records": 5}}}
    assert goals.flat("scale", "records", "memory_peak_mb")(report) == 1.25
    with pytest.raises(LookupError):
        goals.flat("scale", "records", "memory_peak_mb")({"scale": {"records": {}}})


def test_the_page_tells_goals_figures_and_where_they_come_from() -> None:
    text = page.page(results(records_per_s=5.0, cpu_us_per_record=0.2), "## Notes\n\nNone.\n")
    assert "| W2 | ≥ 4 × Kafka Streams' rate | 5 × | met |" in text
    assert "| W3 | ≥ 3 × Flink's rate | – | not measured |" in text
    assert "![W2, a keyed window with its repartition](benchmarks/keyed-W2.svg)" in text
    assert f"| {goals.STREAMS} | 100,000 | 10.00 | 5.00 × |" in text
    assert "7 records, medians of 1 runs in turn; commit abc, 2026-12-01 00:00, 2 cores." in text
    assert text.endswith("None.\n")


def test_bars_escape_names_and_keep_within_the_picture() -> None:
    svg = bars.chart('a "title" & more', [bars.Bar("<ours>", 100.0, 50.0, 200.0), bars.Bar("theirs", 0.0)])
    assert "&lt;ours&gt;" in svg
    assert 'aria-label="a &quot;title&quot; &amp; more"' in svg
    assert f'x2="{bars.WIDTH - bars.RIGHT:.1f}"' in svg


def test_two_runs_are_compared_ratio_by_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ratio in {"one": 4.0, "near": 4.4, "far": 5.0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "keyed.json").write_text(
            json.dumps(results(records_per_s=ratio, memory_peak_mb=ratio)["keyed"])
        )
    assert compare.told(tmp_path / "one", tmp_path / "near") == 0
    assert "1 ratios, 0 of them more than 15% apart" in capsys.readouterr().out
    assert compare.told(tmp_path / "one", tmp_path / "far") == 1
    assert "<-- apart" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert compare.told(tmp_path / "one", tmp_path / "none") == 1, "nothing was compared"


def test_the_page_in_docs_is_what_the_results_say() -> None:
    """Mend: python benchmarks/page.py"""
    reports, notes = page.read(BENCHMARKS / "results"), BENCHMARKS / "notes.md"
    wanted = page.page(reports, notes.read_text() if notes.exists() else "")
    assert (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text() == wanted
    for name, svg in page.pictures(reports).items():
        assert (BENCHMARKS.parent / "docs" / "benchmarks" / name).read_text() == svg
