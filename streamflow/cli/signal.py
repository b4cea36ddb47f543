"""`streamflow signal`: end the wait of items at a `wait` node."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    run_async,
    writable_log,
)
from streamflow.cli.output import fail, print_json

if TYPE_CHECKING:
    from streamflow.runtime.signals import Signal
    from streamflow.topology.plan import NodePlan, Topology


def signal(
    file: FileArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal: what `signal` is at the wait node.")],
    *,
    log: LogOption = DEFAULT_LOG,
    key: Annotated[
        str | None, typer.Option(metavar="K", help="Whose wait it ends: what `key` of the wait node gives, as text.")
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Only items of this execution. It is the key, too, where the node has no `key`."
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this wait node. Default: all that wait for the signal.")
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="What the items get. Default: null.")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="T", help="A resume token; it says node, key and execution.")
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="ID", help="What makes it known when it is sent again: one of an id counts.")
    ] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Make the token here, with STREAMFLOW_SIGNING_KEY; needs --execution.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show the signal, and the token where one is made.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Send a signal to the items that wait for it.

    It is a record on topic WORKFLOW.signals (schemas/signal.avsc). Where no item waits for it, it is kept for the next
    one of its key, as long as the node's `keep_early` says.
    """
    _, topology = compile_file(file)
    nodes = _for_it(topology, name, node)
    if token is not None:
        key, execution, nodes = _claimed(topology, nodes, token, key, execution)
    _check_payload(payload)
    if id == "":
        fail("--id is empty.", code=2, mend="Leave it out, or give each signal one of its own.")
    made = _made(topology, nodes, name, key, execution, payload, token, sign=sign, only=node is not None)
    made = [replace(one, id=id) for one in made]
    if not dry_run:
        run_async(_write(topology, log, made))
    _tell(topology, made, dry_run=dry_run, as_json=json)


def _for_it(topology: Topology, name: str, node: str | None) -> list[NodePlan]:
    """The nodes that the signal is for; leaves with 1 where there is none."""
    from streamflow.runtime.signals import waiting_nodes
    from streamflow.sdk.params import suggestion

    waiting = waiting_nodes(topology)
    if not waiting:
        fail(f"workflow {topology.workflow!r} has no node that waits for a signal.")
    if node is not None and node not in waiting:
        fail(f"no node {node!r} waits for a signal.", mend=suggestion(node, waiting))
    found = [n for n in waiting.values() if n.params["signal"] == name and node in (None, n.id)]
    if not found:
        names = sorted({str(n.params["signal"]) for n in waiting.values()})
        fail(f"no node waits for signal {name!r}.", mend=suggestion(name, names))
    return found


def _claimed(
    topology: Topology, nodes: list[NodePlan], token: str, key: str | None, execution: str | None
) -> tuple[str, str, list[NodePlan]]:
    """Key, execution and node that a token is for; leaves with 1 where that is something else than what is asked."""
    from streamflow.operators.signing import claimed

    claim = claimed(token)
    if claim is None:
        fail("--token is no resume token.", code=2)
    for what, given, said in (("key", key, claim.key), ("execution", execution, claim.execution)):
        if given not in (None, said):
            fail(f"--token is for {what} {said!r}, not {given!r}.", mend=f"Leave --{what} out.")
    mine = [n for n in nodes if n.id == claim.node]
    if claim.workflow != topology.workflow or not mine:
        fail(f"--token is for node {claim.node!r} of workflow {claim.workflow!r}, which does not wait for this here.")
    return claim.key, claim.execution, mine


def _made(
    topology: Topology,
    nodes: list[NodePlan],
    name: str,
    key: str | None,
    execution: str | None,
    payload: str | None,
    token: str | None,
    *,
    sign: bool,
    only: bool,
) -> list[Signal]:
    """The records to write: one for all nodes, or one for each where each needs a token of its own."""
    from streamflow.operators.signing import Claim, signing_key
    from streamflow.operators.signing import sign as signed
    from streamflow.runtime.signals import Signal

    if key is None and execution is None:
        fail("say whose wait ends: --key, --execution, or --token.", code=2)
    by_key = [n for n in nodes if n.params.get("key") is not None]
    if key is None and by_key:
        fail(f"node {by_key[0].id!r} waits by key `{by_key[0].params['key']}`.", mend="Give --key.", code=2)
    if key is None:
        key = execution
    assert key is not None
    if token is None and not sign:
        if strict := [n.id for n in nodes if n.params.get("signed")]:
            fail(f"node {strict[0]!r} takes signed signals only.", mend="Give --token, or --sign.", code=2)
        return [Signal(name=name, key=key, execution=execution, node=nodes[0].id if only else None, payload=payload)]
    if token is None:
        if execution is None:
            fail("a token is for one execution.", mend="Give --execution.", code=2)
        secret = signing_key()
        tokens = {n.id: signed(Claim(topology.workflow, n.id, key, execution), secret) for n in nodes}
    else:
        tokens = {nodes[0].id: token}
    return [
        Signal(name=name, key=key, execution=execution, node=node, payload=payload, token=text)
        for node, text in tokens.items()
    ]


def _check_payload(payload: str | None) -> None:
    import orjson

    if payload is None:
        return
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        fail(f"--payload is no JSON: {error}.", mend="Text needs quotes of its own: --payload '\"yes\"'.", code=2)


async def _write(topology: Topology, address: str, made: list[Signal]) -> None:
    from streamflow.runtime.signals import signals_topic, write_signals

    async with writable_log(address) as log:
        topic = await signals_topic(topology, log)
        producer = await log.producer(f"streamflow.signal.{os.getpid()}")
        try:
            await write_signals(log, producer, topic, made, now_ms=time.time_ns() // 1_000_000)
        finally:
            await producer.close()


def _tell(topology: Topology, made: list[Signal], *, dry_run: bool, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({"workflow": topology.workflow, "written": not dry_run, "signals": [asdict(one) for one in made]})
        return
    for one in made:
        whom = f"node {one.node!r}" if one.node else "all nodes that wait for it"
        print(f"signal {one.name!r} for key {one.key!r} {'would go' if dry_run else 'sent'} to {whom}")
        if dry_run and one.token:
            print(f"token {one.token}")
