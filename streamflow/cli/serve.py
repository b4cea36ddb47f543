"""`streamflow serve`: take signals and resume links over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import DEFAULT_LOG, EnvironmentOption, LogOption, compile_file, run_async, writable_log
from streamflow.cli.logs import configure
from streamflow.cli.output import fail
from streamflow.cli.run import stopped_by_signals

if TYPE_CHECKING:
    from streamflow.server.access import Access
    from streamflow.server.serving import Binding
    from streamflow.topology.plan import Topology


def serve(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The workflows, one or more.")],
    *,
    log: LogOption = DEFAULT_LOG,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0 takes any that is free.", min=0, max=65_535)] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The bearer token is in this file. Default: STREAMFLOW_SERVE_TOKEN."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PATH", help="Certificate chain (PEM): serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PATH", help="Its private key (PEM).")] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen off this machine without token or TLS; without token all may send."),
    ] = False,
    environment: EnvironmentOption = "",
) -> None:
    """Take signals for workflows over HTTP: POST /signals/WORKFLOW/NAME, and resume links.

    Prints one line `ready http://HOST:PORT` when it serves. SIGTERM and Ctrl-C end it gracefully: requests under way
    are answered, the exit code is 0. It runs beside `streamflow run` or `worker`, as often as needed.
    """
    configure()
    try:
        from streamflow.server.access import make_access
        from streamflow.server.serving import Binding
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "uvicorn", "starlette"):
            raise
        fail(f"{error.name} is not installed.", mend="pip install 'streamflow[server]'", code=2)
    if (tls_cert is None) != (tls_key is None):
        fail("--tls-cert and --tls-key go together.", mend="Give both.", code=2)
    tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    access = make_access(host, token_file=token_file, tls=tls is not None, insecure=insecure)
    topologies: dict[str, Topology] = {}
    for file in files:
        _, topology = compile_file(file, environment=environment)
        if topology.workflow in topologies:
            fail(f"two files are workflow {topology.workflow!r}.", mend="Give each once.", code=2)
        topologies[topology.workflow] = topology
    run_async(_serve(list(topologies.values()), log, access, Binding(host=host, port=port, tls=tls)))


async def _serve(topologies: list[Topology], address: str, access: Access, binding: Binding) -> None:
    from streamflow.server.serving import serve as serving

    async with writable_log(address) as log:
        await serving(
            topologies, log, access, binding,
            on_ready=lambda where: print(f"ready {where}", flush=True), stopping=stopped_by_signals,
        )  # fmt: skip
