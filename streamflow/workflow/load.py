"""Load a workflow document from a file or from text."""

from __future__ import annotations

from pathlib import Path as FilePath

from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.document import read_document
from streamflow.workflow.model import WorkflowDocument
from streamflow.workflow.tree import SIZE_BYTES_MAX, parse


def load(path: str | FilePath) -> tuple[WorkflowDocument | None, list[Diagnostic]]:
    """The document in a YAML file, or the one that `flow.py` or `flow.py:name` builds, with all findings of reading it.

    With findings there may still be a document, holding what could be read: `validate` and the compiler then add
    theirs, so that one run shows all. Run nothing while any finding is an error.
    """
    name = str(path)
    stem, _, attribute = name.rpartition(":")
    python = stem if stem.endswith(".py") else name
    if python.endswith(".py"):
        from streamflow.workflow.python_file import load_python

        return load_python(python, attribute if python == stem else "")
    try:
        file = FilePath(name)
        if file.is_dir():
            return None, [_unreadable(name, "it is a folder", f"Name the file: {file / 'workflow.yaml'}.")]
        with file.open("rb") as stream:
            data = stream.read(SIZE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A cut character at the limit is the size's fault, which the reader of the text reports.
        if len(data) <= SIZE_BYTES_MAX:
            line = data.count(b"\n", 0, error.start) + 1
            return None, [_unreadable(name, f"byte {error.start} is not UTF-8", "Save it as UTF-8.", line)]
        text = data.decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None, [_unreadable(name, "there is no such file", _nearby(FilePath(name)))]
    except (OSError, ValueError) as error:
        return None, [_unreadable(name, str(error), "")]
    return load_text(text, file=name, base_folder=str(file.parent), source=name)


def load_text(
    text: str, *, file: str = "<text>", base_folder: str = "", source: str = ""
) -> tuple[WorkflowDocument | None, list[Diagnostic]]:
    """The document in YAML text; `file` is what places call it."""
    tree, findings = parse(text, file)
    if tree is None:
        if not findings:
            findings.append(
                Diagnostic(
                    place=Place(file, 1, 1),
                    code="SF130",
                    message="the file is empty.",
                    mend="Begin with `workflow: name` and `nodes:`.",
                )
            )
        return None, findings
    document, found = read_document(tree, base_folder=base_folder, source=source, incomplete=bool(findings))
    return document, [*findings, *found]


def _unreadable(name: str, why: str, mend: str, line: int = 0) -> Diagnostic:
    return Diagnostic(place=Place(name, line, 1 if line else 0), code="SF105", message=f"{why}.", mend=mend)


def _nearby(file: FilePath) -> str:
    """Workflow files in the same folder."""
    try:
        there = sorted(p.name for p in file.parent.glob("*.y*ml"))[:5]
    except OSError:
        return ""
    return f"There is: {', '.join(there)}." if there else ""
