"""Files in and out: every format both ways, resumed at any row, aborted and crashed at any step."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

from streamflow.connectors.files.source import FileSource
from streamflow.model.batch import ROW, Batch
from streamflow.model.types import ANY, DOUBLE, INT, LONG, PAYLOAD, STRING, TIMESTAMP_MS, Schema, map_of, record_of
from streamflow.sdk.node import Node, ReadsSource
from streamflow.sdk.operator import Commits
from streamflow.sdk.source import SourceBatch
from streamflow.testing.operator_kit import FakeStore, KitBuild, KitContext, items_of, make_node, run_node

ORDER = record_of(
    {"id": STRING, "customer": STRING.optional(), "amount": DOUBLE, "qty": INT, "at": TIMESTAMP_MS.optional()}
)
ROWS: list[dict[str, Any]] = [
    {"id": f"{n}", "customer": [None, "x", 'a "b"\nc', "é"][n % 4], "amount": n / 4, "qty": n, "at": None}
    for n in range(12)
]


def built(node: Node, folder: Path, **options: Any) -> tuple[KitBuild, Schema]:
    build = KitBuild(inputs={}, base_folder=str(folder), **options)
    build.outputs = node.output_schemas(build)
    assert not build.findings, build.findings
    return build, build.outputs["out"]


def read_all(
    node: Node, folder: Path, rows_max: int = 1000, *, reopen: bool = False, **options: Any
) -> tuple[list[Any], list[SourceBatch]]:
    """All items, and the batches they came in; with `reopen` by a new source for each batch."""
    build, schema = built(node, folder, **options)
    assert isinstance(node, ReadsSource)
    batches: list[SourceBatch] = []
    source = node.source(build)
    source.open("")
    while not batches or not batches[-1].done:
        if reopen and batches:
            source.close()
            source = node.source(build)
            source.open(batches[-1].position)
        batches.append(source.read(rows_max=rows_max, timeout_ms=10))
    source.close()
    return [i for b in batches for i in items_of(Batch(b.frame, schema))], batches


def close(sink: Commits, ctx: KitContext) -> None:
    sink.closing(ctx)
    sink.prepare(ctx)
    ctx.stores["parts"].commit()
    sink.committed(ctx)


@pytest.mark.parametrize("aborted", [(), (0,), (1,), (0, 1, 2)])
@pytest.mark.parametrize("format", ["jsonl", "csv", "avro", "parquet"])
def test_what_is_written_is_read_once_whatever_is_aborted(
    format: str, aborted: tuple[int, ...], tmp_path: Path
) -> None:
    node = make_node("write-file", path=f"out/orders.{format}", rows_max=5)
    ran = run_node(node, ROWS, schema=ORDER, cuts=(2, 7), aborted=aborted, base_folder=str(tmp_path))
    assert ran.absorbed == len(ROWS)
    sink = node.operator(KitBuild(inputs={"in": ORDER}, base_folder=str(tmp_path)))
    assert isinstance(sink, Commits)
    close(sink, KitContext(stores=ran.stores))
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [f"orders-0-00000{n}.{format}" for n in range(3)]
    reader = make_node("file", path=f"out/orders-*.{format}")
    for rows_max in (1, 4, 1000):
        items, batches = read_all(reader, tmp_path, rows_max, reopen=True)
        assert [i["customer"] for i in items] == [r["customer"] for r in ROWS]
        assert [i["amount"] for i in items] == [r["amount"] for r in ROWS]
        assert sum(b.ends for b in batches) == sum(bool(b.begins) for b in batches) == 3


def test_rows_behind_the_committed_length_are_cut_off_after_a_crash(tmp_path: Path) -> None:
    """Method: one committed step; then rows written but never committed; then a new operator takes over."""
    node = make_node("write-file", path="o.jsonl")
    build = KitBuild(inputs={"in": ANY}, base_folder=str(tmp_path))
    ran = run_node(node, [{"n": 1}], schema=ANY, base_folder=str(tmp_path))
    store = ran.stores["parts"]
    lost = FakeStore()
    lost.base = dict(store.base)
    rows = pl.DataFrame({PAYLOAD: [b'{"n":"lost"}'], ROW: pl.Series([0], dtype=pl.UInt32)})
    node.operator(build).process({"in": Batch(rows, ANY)}, KitContext(stores={"parts": lost}))
    sink = node.operator(build)
    assert isinstance(sink, Commits)
    sink.committed(KitContext(stores=ran.stores))
    run_node(node, [{"n": 2}], schema=ANY, base_folder=str(tmp_path), context=KitContext(stores=ran.stores))
    close(sink, KitContext(stores=ran.stores))
    assert (tmp_path / "o-0-000000.jsonl").read_bytes() == b'{"n":1}\n{"n":2}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o-0-000000.jsonl"]


def test_a_file_is_closed_by_the_row_that_reaches_its_size(tmp_path: Path) -> None:
    node = make_node("write-file", path="o.jsonl", size_bytes_max=20)
    for cuts in ((), (1,), (1, 2, 3)):
        folder = tmp_path / str(len(cuts))
        run_node(node, [{"n": n} for n in range(5)], schema=ANY, cuts=cuts, base_folder=str(folder))
        whole = sorted(folder.glob("o-*.jsonl"))
        assert [p.read_bytes() for p in whole] == [b'{"n":0}\n{"n":1}\n{"n":2}\n']


@pytest.mark.parametrize("format", ["jsonl", "csv", "avro", "parquet"])
def test_where_a_file_ends_does_not_depend_on_steps(format: str, tmp_path: Path) -> None:
    """A file is closed by size, and formats that write what a step brings as one block count rows all the same."""
    node = make_node("write-file", path=f"o.{format}", size_bytes_max=60)
    reader = make_node("file", path=f"o-*.{format}")
    parts = []
    for cuts in ((), (1, 5), tuple(range(1, 12))):
        folder = tmp_path / str(len(cuts))
        ran = run_node(node, ROWS, schema=ORDER, cuts=cuts, base_folder=str(folder))
        sink = node.operator(KitBuild(inputs={"in": ORDER}, base_folder=str(folder)))
        assert isinstance(sink, Commits)
        close(sink, KitContext(stores=ran.stores))
        items, batches = read_all(reader, folder)
        assert [i["amount"] for i in items] == [r["amount"] for r in ROWS]
        parts.append([b.frame.height for b in batches if b.frame.height])
    assert len(parts[0]) > 1
    assert parts[0] == parts[1] == parts[2]


def test_json_lines_hold_no_nan(tmp_path: Path) -> None:
    node = make_node("write-file", path="o.jsonl")
    ran = run_node(node, [{"x": float("nan")}, {"x": 1.0}], schema=record_of({"x": DOUBLE}), base_folder=str(tmp_path))
    assert [code for _, code, _ in ran.failed] == ["not_a_number"]
    assert ran.absorbed == 1


def test_broken_lines_of_csv_cost_only_themselves(tmp_path: Path) -> None:
    text = b'id,zip code,v\n1,00501,1.5\n2,x\n3,00502,NA\n\n4,"a\nb",7\n5,\xff,7\n'
    (tmp_path / "a.csv").write_bytes(text)
    node = make_node("file", path="a.csv", null_values=["NA"], key="id")
    for rows_max in (1, 2, 1000):
        items, batches = read_all(node, tmp_path, rows_max, reopen=True)
        assert items == [
            {"id": 1, "zip_code": "00501", "v": 1.5},
            {"id": 3, "zip_code": "00502", "v": None},
            {"id": 4, "zip_code": "a\nb", "v": 7.0},
        ]
        bad = [b for batch in batches for b in batch.bad]
        assert [raw for raw, _, _ in bad] == [b"2,x", b"5,\xff,7"]
        assert {code for _, code, _ in bad} == {"undecodable"}


def test_cells_that_do_not_fit_the_schema_make_their_line_bad(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,at\n1,2024-05-01T10:00:00+02:00\nx,\n3,never\n,2024-05-01\n")
    node = make_node("file", path="a.csv", schema="s", time="at")
    schema = record_of({"n": LONG, "at": TIMESTAMP_MS.optional()})
    build = KitBuild(inputs={}, base_folder=str(tmp_path), schemas={"s": schema})
    build.outputs = node.output_schemas(build)
    assert isinstance(node, ReadsSource)
    source = node.source(build)
    source.open("")
    batch = source.read(rows_max=100, timeout_ms=1)
    assert batch.frame["@ts"].to_list() == [1714550400000]
    assert [message.rsplit(": ", 1)[-1] for _, _, message in batch.bad] == [
        "'x' is no long",
        "'never' is no timestamp(ms)",
        "n is empty, and the schema requires a value",
    ]


def test_json_lines_are_untyped_or_held_to_a_schema(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(b'{"n": 1}\n\n{"n": "x"}\nbroken\n{"n": 3}')
    items, batches = read_all(make_node("file", path="a.jsonl.gz"), tmp_path, 1, reopen=True)
    assert items == [{"n": 1}, {"n": "x"}, {"n": 3}]
    assert [raw for b in batches for raw, _, _ in b.bad] == [b"broken"]
    schemas = {"s": record_of({"n": LONG})}
    items, batches = read_all(make_node("file", path="a.jsonl.gz", schema="s"), tmp_path, schemas=schemas)
    assert items == [{"n": 1}, {"n": 3}]
    assert [code for b in batches for _, code, _ in b.bad] == ["schema_mismatch", "undecodable"]


def test_avro_files_with_maps_and_unions_are_read_too(tmp_path: Path) -> None:
    avro = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "m", "type": {"type": "map", "values": "long"}},
            {"name": "u", "type": ["null", "string", "long"]},
        ],
    }
    rows = [{"m": {"a": n}, "u": [None, "t", n][n % 3]} for n in range(100)]
    with (tmp_path / "a.avro").open("wb") as stream:
        fastavro.writer(stream, avro, rows, sync_interval=100)
    items, _ = read_all(make_node("file", path="a.avro"), tmp_path, 7, reopen=True)
    assert [i["m"][0]["value"] for i in items] == list(range(100))
    assert built(make_node("file", path="a.avro"), tmp_path)[1].field("m").type == map_of(LONG)  # type: ignore[union-attr]


def test_a_paced_source_waits_for_event_time(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"t": {t}}}\n' for t in (1000, 2000, 5000)))
    node = make_node("file", path="a.jsonl", time="long(t)", pace=2.0, execution="item")
    build, _ = built(node, tmp_path)
    assert isinstance(node, ReadsSource)
    made = node.source(build)
    assert isinstance(made, FileSource)
    now = [100.0]
    source = FileSource(made._reads, clock=lambda: now[0])
    source.open("")
    first = source.read(rows_max=100, timeout_ms=1)
    assert (first.frame.height, first.done) == (1, False)
    assert 490 <= first.wait_ms <= 502
    now[0] += 0.6
    assert source.read(rows_max=100, timeout_ms=1).frame["@ts"].to_list() == [2000]
    again = FileSource(made._reads, clock=lambda: now[0])
    again.open(first.position)
    assert again.read(rows_max=100, timeout_ms=1).frame["@ts"].to_list() == [2000]
    again.close()
    now[0] += 10
    last = source.read(rows_max=100, timeout_ms=1)
    assert (last.frame["@ts"].to_list(), last.done) == ([5000], True)


def test_no_file_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    build = KitBuild(inputs={}, base_folder=str(tmp_path))
    assert make_node("file", path="none-*.csv").output_schemas(build) == {}
    assert [f.code for f in build.findings] == ["SF256"]
    (tmp_path / "a.txt").write_text("x")
    make_node("file", path="a.txt").output_schemas(build)
    assert [f.code for f in build.findings] == ["SF256", "SF256"]


def test_manual_items_come_once_as_one_run(tmp_path: Path) -> None:
    node = make_node("manual", items=[{"a": 1}, {"a": 2}, 3])
    items, batches = read_all(node, tmp_path, 2, reopen=True)
    assert items == [{"a": 1}, {"a": 2}, 3]
    assert [(b.begins, b.ends, b.done) for b in batches] == [("run", False, False), ("", True, True)]
