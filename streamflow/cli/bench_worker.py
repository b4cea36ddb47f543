"""The process that `streamflow bench` measures: a workflow with topics of its own, run as `streamflow run` does.

python -m streamflow.cli.bench_worker '{"file": …, "address": …, "prefix": …, "registry": …, "metrics": …}'
"""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(text: str) -> None:
    """Until the inputs end, where that is asked for, or until SIGTERM."""
    import orjson

    from streamflow.bench.target import target
    from streamflow.cli.common import load_file, run_async
    from streamflow.cli.logs import configure
    from streamflow.cli.run import Figures, facts, run_here
    from streamflow.workers.scheduler import Limits

    asked: dict[str, Any] = orjson.loads(text)
    configure()
    document, _, _ = load_file(Path(asked["file"]), environment=asked["environment"])
    assert document is not None, "the command has looked"
    found = target(document, asked["prefix"])
    run = replace(found.topology.run, guarantee=asked["guarantee"])
    topology = replace(found.topology, registry=asked["registry"], run=run)
    show = Figures(Path(asked["metrics"]))
    limits = Limits(threads=asked["threads"])
    state_dir = Path(asked["state_dir"]) if run.state == "rocksdb" else None
    report = run_async(
        run_here(found.document, topology, asked["address"], asked["until_end"], None, limits, show, state_dir)
    )
    show.end()
    show.write(facts(report.progress, report))
    sys.exit(1 if report.halted is not None else 0)


if __name__ == "__main__":
    gc.disable()
    main(sys.argv[1])
