"""An imported workflow and its imported error workflow, completed as their comments say, run one behind the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from streamflow.cli.import_ import check_text
from streamflow.cli.main import app
from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.workflow.n8n import import_export, read_exports
from streamflow.workflow.n8n.make_flow import FAILING
from tests.simulation.running import compiled, run, values, with_log

FOLDER = Path(__file__).parents[1] / "golden" / "n8n"


def imported(name: str) -> str:
    (export,) = read_exports((FOLDER / f"{name}.json").read_bytes(), name)
    return import_export(export, registry().kinds, check_text).text


def test_errors_come_to_the_error_workflow_as_n8n_has_them(tmp_path: Path) -> None:
    """Method: the failing one gets a node that fails; names and the file are put in, comment signs taken out."""
    failing = imported("50-error-workflow")
    failing = failing.replace(
        "# policies:\n#   error_workflow: error-workflow-k3XhW9---2", "policies:\n  error_workflow: h"
    )
    failing = failing.replace("type: no-op", "type: set\n    fields: {x: 1 // 0}")
    hears = imported("51-error-trigger").replace(FAILING, "failing-orders")
    hears = hears.replace(
        "connections:\n", "  out: {type: publish, topic: told, format: json}\nconnections:\n  - text -> out\n"
    )
    (tmp_path / "failing.yaml").write_text(failing)
    (tmp_path / "h.yaml").write_text(hears)
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "failing.yaml")])
    assert checked.exit_code == 0, checked.output
    first, second = compiled(failing, tmp_path), compiled(hears, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await run(first, log)
        await run(second, log)
        (told,) = await values(log, "told")
        assert told["text"] == "failing-orders: fields.x (1 // 0): division by zero in good"
        assert told["url"] is None

    asyncio.run(with_log(tmp_path / "log", work))
