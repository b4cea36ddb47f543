"""`streamflow state`: what a node keeps, as it is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    LogOption,
    compile_file,
    existing_log,
    run_async,
)
from streamflow.cli.output import fail, note, note_json, print_json, table

if TYPE_CHECKING:
    import polars as pl

    from streamflow.topology.plan import Topology
    from streamflow.workflow.model import WorkflowDocument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = (
    (at.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1) for at in (datetime.min, datetime.max)
)


def state(
    file: FileArgument,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Id of a node that keeps state.")],
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Only what is kept of this key.")] = None,
    *,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="FROM/TO",
            help="Only windows that reach into this time, such as 2026-01-31T12:00/2026-01-31T13:00 (UTC unless it "
            "says otherwise); either side may be left out.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Stop after this many rows.", min=0)] = None,
    log: LogOption = DEFAULT_LOG,
    json: Annotated[
        bool,
        typer.Option(
            "--json", callback=note_json, help="One JSON object a line: partition, key, window if any, and values."
        ),
    ] = False,
) -> None:
    """Show what a node keeps: its open windows, the items that wait in it, what it has counted.

    Read from the node's changelog, so it is what was committed last, and may be asked while the workflow runs. Rows
    come partition by partition, by window and key.
    """
    wanted = _Wanted(key, *_times(window))
    run_async(_state(file, node, wanted, -1 if limit is None else limit, log, json))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for: a key, and windows that reach into `from_ms` to before `to_ms`."""

    key: str | None
    from_ms: int | None
    to_ms: int | None

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO

        if self.key is not None:
            rows = rows.filter(pl.col(STATE_KEY) == self.key.encode())
        if self.from_ms is not None:
            rows = rows.filter(pl.col(STATE_TO) > self.from_ms)
        if self.to_ms is not None:
            rows = rows.filter(pl.col(STATE_FROM) < self.to_ms)
        return rows


async def _state(file: Path, node: str, wanted: _Wanted, limit: int, address: str, as_json: bool) -> None:
    from streamflow.nodes import registry
    from streamflow.runtime.state_rows import state_rows

    document, topology = compile_file(file)
    _check(document, topology, node)
    shown: list[dict[str, Any]] = []
    async with existing_log(address) as log:
        async for partition, rows in state_rows(topology, node, log, registry(), document.functions):
            if limit >= 0 and len(shown) >= limit:
                break
            wanted_rows = wanted.of(rows)
            found = list(_facts(partition, wanted_rows.head(limit - len(shown)) if limit >= 0 else wanted_rows))
            if as_json:
                for fact in found:
                    print_json(fact, line=True)
            shown += found if not as_json or limit >= 0 else ()
    if not as_json:
        _print(shown)


def _check(document: WorkflowDocument, topology: Topology, node: str) -> None:
    """Leaves with 2 for a node that is none, with 1 for one that keeps no state."""
    import difflib

    from streamflow.runtime.state_rows import stores_of

    ids = [n.id for n in document.nodes]
    if node not in ids and node not in {store.node for stage in topology.stages for store in stage.stores}:
        near = difflib.get_close_matches(node, ids, 1)
        fail(f"there is no node {node!r}.", mend=f"Did you mean {near[0]!r}?" if near else "", code=2)
    if stores_of(topology, node):
        return
    topics = {t.node.id: t.input.topic for stage in topology.stages for t in stage.tables}
    if node in topics:
        fail(
            f"node {node!r} is a global table: what it holds is on its topic {topics[node]!r}, and in no changelog.",
            mend=f"`streamflow tail {topics[node]} --from earliest` shows it.",
        )
    keeping = sorted({store.node for stage in topology.stages for store in stage.stores})
    mend = f"These do: {', '.join(keeping)}." if keeping else "No node of this workflow does."
    fail(f"node {node!r} keeps no state.", mend=mend)


def _facts(partition: int, rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as JSON."""
    from streamflow.cli.lines import when
    from streamflow.cli.values import text_or_base64
    from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO

    far = _far_times(rows)
    near = rows.with_columns(rows[name].zip_with(ms.is_null(), rows[name].clear(1)) for name, ms in far.items())
    for at, row in enumerate(near.iter_rows(named=True)):
        row |= {name: when(ms[at]) for name, ms in far.items() if ms[at] is not None}
        key, first, end = (row.pop(name) for name in (STATE_KEY, STATE_FROM, STATE_TO))
        fact: dict[str, Any] = {"partition": partition, "key": text_or_base64(key)}
        if first is not None and end is not None:
            fact["window"] = {"start": when(first), "end": when(end)}
        fact |= {name[1:]: row.pop(name) for name in ("@execution", "@port") if name in row}
        yield fact | {"values": {name: _plain(name, value) for name, value in row.items()}}


def _far_times(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """By column of times, where it has such: ms since 1970 of those that no calendar reaches, else null."""
    import polars as pl

    found: dict[str, pl.Series] = {}
    for name, dtype in rows.schema.items():
        if isinstance(dtype, pl.Datetime):
            ms = rows.select(pl.col(name).dt.epoch("ms")).to_series()
            far = (
                ms.to_frame("ms").select(pl.when(~pl.col("ms").is_between(_FIRST_MS, _LAST_MS)).then("ms")).to_series()
            )
            if far.count():
                found[name] = far
    return found


def _plain(name: str, value: object) -> object:
    """A value as JSON has it."""
    from streamflow.cli.values import as_json, text_or_base64
    from streamflow.model.types import PAYLOAD

    if isinstance(value, bytes):
        import orjson

        return orjson.loads(as_json(value)) if name == PAYLOAD else text_or_base64(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + ("Z" if value.tzinfo else "")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value / timedelta(milliseconds=1)
    if isinstance(value, Mapping):
        return {key: _plain("", one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain("", one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _print(facts: list[dict[str, Any]]) -> None:
    if not facts:
        print("nothing is kept")
        return
    rows: list[dict[str, object]] = []
    for fact in facts:
        row: dict[str, object] = {"key": _cell(fact["key"])}
        if "window" in fact:
            row["window"] = f"{fact['window']['start']} to {fact['window']['end']}"
        row |= {name: fact[name] for name in ("execution", "port") if name in fact}
        rows.append(row | {name: _cell(value) for name, value in fact["values"].items()})
    headers = list(dict.fromkeys(name for row in rows for name in row))
    if all(fact["key"] is None for fact in facts):
        headers.remove("key")
    print(table([[row.get(name, "-") for name in headers] for row in rows], headers))
    note(f"{len(rows):,} row{'s' * (len(rows) != 1)}")


def _cell(value: object) -> object:
    import orjson

    if value is None:
        return "-"
    return value if isinstance(value, int | float | str) else orjson.dumps(value).decode()


def _times(window: str | None) -> tuple[int | None, int | None]:
    if window is None:
        return None, None
    first, slash, end = window.partition("/")
    if not slash:
        fail(f"--window is FROM/TO, not {window!r}.", mend="Two ISO times with a slash between them.", code=2)
    return _ms(first), _ms(end)


def _ms(text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--window: {text!r} is no ISO time.", mend="Such as 2026-01-31T12:00.", code=2)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
