"""What do the others lose while the items of one key fail, and wait in order?

1,000 keys, each with as many items. Each run has a log of its own with the same input: one with a service that is well,
one where it fails for key 7 as long as the run lasts. Figures: items of the other keys a second, from the first record
to the last commit; and the CPU that each took, which tells more where a machine has other work. Then the service is
well again, a run brings out what waits, and `park_check.py`, which knows nothing of parking, looks at every item:
before (all of the others, none of key 7) and after (all, each once, each key's in order). For a minute of failures
choose `--records` so that a run takes one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import polars as pl

from streamflow.codecs import CodecSpec, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec

sys.path.insert(0, str(Path(__file__).parent))
from park_check import KEYS, SCHEMA, check

HERE = Path(__file__).parent
PARTITIONS, CHUNK = 4, 200_000
DRAIN_S, DRAINS_MAX = 5, 40


async def fill(folder: str, records: int) -> None:
    """Items n with key n % KEYS, all of a key on one partition."""
    encode = encoder(CodecSpec(format="avro", schema=schema_from_avro(SCHEMA), name="bench.Item"))
    log = open_log(folder)
    await log.open()
    await log.create_topic(TopicSpec(name="bench.items", partitions=PARTITIONS))
    producer = await log.producer("fill")
    for at in range(0, records, CHUNK):
        n = pl.int_range(at, min(at + CHUNK, records), eager=True).alias("n")
        frame = n.to_frame().with_columns((pl.col("n") % KEYS).alias("k")).select(
            "k", "n", pl.lit("leave at the door please, thanks").alias("text"),
            pl.col("k").cast(pl.String).cast(pl.Binary).alias("@key"), pl.col("n").alias("@ts"),
        )  # fmt: skip
        await producer.begin()
        for p in range(PARTITIONS):
            mine = frame.filter(pl.col("k") % PARTITIONS == p)
            await producer.append(TopicPartition("bench.items", p), encode.encode(mine).batches)
        await producer.commit()
    await producer.close()
    await log.close()


def run(folder: Path, *options: str) -> dict[str, float]:
    """One run of the workflow; its metrics."""
    metrics = folder / "metrics.json"
    environment = {**os.environ, "PARK_DOWN": str(folder / "down")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", str(HERE / "park" / "workflow.yaml")]
    command += ["--log", str(folder / "log"), "--metrics", str(metrics), *options]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    found: dict[str, float] = orjson.loads(metrics.read_bytes())
    return found


def once(records: int, *, down: bool) -> dict[str, object]:
    """A run over a fresh log; with `down` also what comes out when the service is well again."""
    folder = Path(tempfile.mkdtemp(prefix="streamflow-park-"))
    try:
        asyncio.run(fill(str(folder / "log"), records))
        if down:
            (folder / "down").touch()
        facts = run(folder, "--until-end")
        others = records - records // KEYS
        made: dict[str, object] = {
            "others_per_s": round(others * facts["records_per_s"] / records),
            "cpu_us_per_item": round(facts["cpu_seconds_active"] / others * 1e6, 3),
        }
        if not down:
            return made | {"check": check(str(folder / "log"), records, down=False)}
        made["while_down"] = check(str(folder / "log"), records, down=True)
        (folder / "down").unlink()
        for _ in range(DRAINS_MAX):
            run(folder, "--duration", str(DRAIN_S))
            made["check"] = check(str(folder / "log"), records, down=False)
            if made["check"]["ok"]:  # type: ignore[index]
                break
        return made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=2_000_000)
    arguments.add_argument("--runs", type=int, default=3)
    given = arguments.parse_args()
    well = [once(given.records, down=False) for _ in range(given.runs)]
    down = [once(given.records, down=True) for _ in range(given.runs)]
    normal, failing = (statistics.median(int(str(r["others_per_s"])) for r in runs) for runs in (well, down))
    ok = all(r["check"]["ok"] for r in (*well, *down)) and all(r["while_down"]["ok"] for r in down)  # type: ignore[index]
    cpu = [statistics.median(float(str(r["cpu_us_per_item"])) for r in runs) for runs in (well, down)]
    told = {
        "records": given.records,
        "normal_per_s": normal,
        "failing_per_s": failing,
        "part": round(failing / normal, 3),
        "part_by_cpu": round(cpu[0] / cpu[1], 3),
        "checked": ok,
        "well": well,
        "down": down,
    }
    print(json.dumps(told, indent=2))
    return 0 if ok and failing >= 0.9 * normal else 1


if __name__ == "__main__":
    sys.exit(main())
