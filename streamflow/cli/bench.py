"""`streamflow bench`: measure a workflow with data made from the schemas of its topics."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import EnvironmentOption, JsonOption, ThreadsOption, load_file, run_async
from streamflow.cli.output import fail, note, print_json

if TYPE_CHECKING:
    from streamflow.bench.report import Result


def bench(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow: a .yaml or a .py file.")],
    *,
    records: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000_000, help="Records to send.")] = 1_000_000,
    log: Annotated[
        str, typer.Option(metavar="PATH", help="kafka://HOST:PORT, or a folder. Default: one that is deleted.")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The same seed makes the same records.")] = 0,
    skew: Annotated[
        float,
        typer.Option(metavar="S", min=0.0, max=10.0, help="Some items come more often, by Zipf's law; 0: none does."),
    ] = 0.0,
    key: Annotated[str, typer.Option(metavar="FIELD", help="Field that becomes the record key.")] = "",
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw items from these JSON lines instead; one topic only.")
    ] = None,
    partitions: Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="Partitions of each topic.")] = 4,
    rate: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Records a second while latency is measured.")
    ] = 1_000,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.0, max=3_600.0, help="How long latency is measured; 0: not at all.")
    ] = 10.0,
    threads: ThreadsOption = None,
    guarantee: Annotated[str, typer.Option(help="exactly_once or at_least_once. Default: what the file says.")] = "",
    compare: Annotated[
        Path | None, typer.Option(metavar="OLD.json", help="Show ratios to an earlier result of --json.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="PART", min=0.0, help="With --compare: worse by more than this is exit code 1.")
    ] = 0.15,
    html: Annotated[Path | None, typer.Option(metavar="OUT.html", help="Write a page with charts.")] = None,
    environment: EnvironmentOption = "",
    json: JsonOption = False,
) -> None:
    """Measure a workflow: throughput, latency, memory, and where the time goes.

    Topics of its own are filled with records made from the schemas, and run to their end by a process as `streamflow
    run` starts it. Then records come at a steady rate: latency is from the time that a record has (and all its fields
    that are times) until what came of it can be read. Nobody's topics are touched.
    """
    from streamflow.bench.feed import Recipe
    from streamflow.bench.report import compared, text
    from streamflow.cli.bench_run import Asked, measured

    old = _result(compare) if compare is not None else None
    if guarantee not in ("", "exactly_once", "at_least_once"):
        fail(f"--guarantee {guarantee!r} is neither exactly_once nor at_least_once.", code=2)
    if html is not None and not html.absolute().parent.is_dir():
        fail(f"--html: there is no folder {str(html.absolute().parent)!r}.", code=2)
    document, topology, findings = load_file(file, environment=environment)
    if document is None or topology is None:
        from streamflow.workflow.diagnostics import render

        print(render(findings), file=sys.stderr)
        fail(f"{file} cannot run; `streamflow check` tells the same.")
    asked = Asked(
        file=file, document=document, address=log, records=records, recipe=Recipe(seed=seed, skew=skew, key=key),
        lines=None if data is None else _lines(data), partitions=partitions, rate=rate, seconds=seconds,
        threads=threads, environment=environment, guarantee=guarantee or topology.run.guarantee,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        result = run_async(measured(asked, Path(folder)))
    worse = False
    lines = list(text(result))
    if old is not None:
        more, worse = compared(result, old, tolerance)
        lines += ["beside the earlier result:", *more]
        result["compared"] = {"lines": more, "worse": worse}
    if html is not None:
        from streamflow.bench.page import page

        html.write_text(page(result), encoding="utf-8")
        note(f"wrote {html}")
    if json:
        print_json(result)
    else:
        print("\n".join(lines))
    if worse:
        raise typer.Exit(1)


def _lines(data: Path) -> list[bytes]:
    try:
        return [line for line in data.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        fail(f"--data {str(data)!r} cannot be read: {error.strerror}.", code=2)


def _result(file: Path) -> Result:
    import orjson

    from streamflow.bench.report import check

    try:
        return check(orjson.loads(file.read_bytes()), f"--compare {str(file)!r}")
    except OSError as error:
        fail(f"--compare {str(file)!r} cannot be read: {error.strerror}.", code=2)
    except orjson.JSONDecodeError:
        fail(f"--compare {str(file)!r} is no JSON.", mend="Make one by `streamflow bench FILE --json`.", code=2)
