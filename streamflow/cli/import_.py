"""`streamflow import`: workflows of other systems become documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import JsonOption
from streamflow.cli.output import fail, note, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamflow.sdk.places import Diagnostic
    from streamflow.workflow.n8n import Export, Imported

import_app = typer.Typer(help="Make documents of workflows of other systems.", no_args_is_help=True)


@import_app.callback()
def _systems() -> None:
    """Make documents of workflows of other systems."""


@import_app.command()
def n8n(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export of n8n: JSON.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where the document goes; a folder takes each of several."),
    ] = None,
    workflow: Annotated[
        str,
        typer.Option("--workflow", metavar="NAME", help="Which of several workflows in the file, by name or number."),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Make a document of an n8n workflow, and report what became of each node and connection.

    What has no equivalent becomes a stub, which `check` warns of. Without -o the document goes to stdout, the report to
    stderr; with --json stdout has the report. Exit 1 if the file is no workflow of n8n.
    """
    from streamflow.nodes import registry
    from streamflow.workflow.n8n import import_export, read_exports

    exports = _chosen(read_exports(_read(file), file.stem), workflow, file, out)
    kinds = registry().kinds
    done = [(import_export(export, kinds, check_text), export) for export in exports]
    targets = _targets(done, out)
    for (imported, _), target in zip(done, targets, strict=True):
        if target is not None:
            target.write_text(imported.text, encoding="utf-8")
    facts = [_facts(file, imported, target) for (imported, _), target in zip(done, targets, strict=True)]
    if json:
        print_json(facts[0] if len(facts) == 1 else {"file": str(file), "workflows": facts})
    else:
        for (imported, _), target in zip(done, targets, strict=True):
            _tell(file, imported, target)
    if any(not imported.ok for imported, _ in done):
        raise typer.Exit(1)


def _read(file: Path) -> bytes:
    from streamflow.workflow.n8n.read import SIZE_BYTES_MAX

    if file.is_dir():
        fail(f"{str(file)!r} is a folder.", mend="Name the file.", code=2)
    try:
        with file.open("rb") as stream:
            return stream.read(SIZE_BYTES_MAX + 1)
    except FileNotFoundError:
        fail(f"there is no file {str(file)!r}.", code=2)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        fail(f"{str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}.", code=2)


def _chosen(exports: list[Export], wanted: str, file: Path, out: Path | None) -> list[Export]:
    """The workflow that is asked for; all of them where a folder takes them."""
    if wanted:
        named = [e for e in exports if e.name == wanted]
        if not named and wanted.isdigit() and 1 <= int(wanted) <= len(exports):
            named = [exports[int(wanted) - 1]]
        if not named:
            fail(f"there is no workflow {wanted!r} in {str(file)!r}.", mend=_named(exports), code=2)
        return named[:1]
    if len(exports) > 1 and (out is None or not out.is_dir()):
        mend = f"Name one with --workflow, or a folder with -o. {_named(exports)}"
        fail(f"{str(file)!r} holds {len(exports)} workflows.", mend=mend, code=2)
    return exports


def _named(exports: list[Export]) -> str:
    shown = ", ".join(f"{at} {e.name!r}" for at, e in enumerate(exports[:20], start=1))
    return f"There is: {shown}{', …' if len(exports) > 20 else ''}."


def _targets(done: list[tuple[Imported, Export]], out: Path | None) -> list[Path | None]:
    """The file of each document; None: stdout."""
    if out is None or not out.is_dir():
        return [out] * len(done)
    made: list[Path | None] = []
    for imported, _ in done:
        name, number = imported.report.workflow, 2
        target = out / f"{name}.yaml"
        while target in made:
            target, number = out / f"{name}-{number}.yaml", number + 1
        made.append(target)
    return made


def check_text(text: str) -> Sequence[Diagnostic]:
    """What `streamflow check` would find."""
    from streamflow.compiler import compile_document
    from streamflow.nodes import registry
    from streamflow.workflow.load import load_text

    document, findings = load_text(text, file="workflow.yaml")
    if document is None:
        return findings
    _, found = compile_document(document, registry())
    return [*findings, *found]


def _facts(file: Path, imported: Imported, target: Path | None) -> dict[str, object]:
    from streamflow.workflow.diagnostics import to_json

    made: dict[str, object] = {"file": str(file), "ok": imported.ok, "output": str(target) if target else None}
    made |= imported.report.to_json()
    made["diagnostics"] = to_json(imported.findings)
    if target is None:
        made["document"] = imported.text
    return made


def _tell(file: Path, imported: Imported, target: Path | None) -> None:
    if target is None:
        print(imported.text, end="")
    for line in imported.report.lines():
        print(line, file=sys.stderr)
    for finding in imported.findings:
        if finding.severity == "error":
            print(str(finding), file=sys.stderr)
    if target is not None:
        note(f"{file}: imported into {target}; check it with `streamflow check {target}`.")
