"""Load a workflow from a Python file that builds one. Runs the file: only ever a file that the user named."""

from __future__ import annotations

import sys
import traceback
from hashlib import sha256
from pathlib import Path as FilePath
from types import ModuleType

from streamflow.sdk.params import suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.builder import Workflow
from streamflow.workflow.model import WorkflowDocument

_EXAMPLE = 'Write `workflow = Workflow("name")` at the top level of the file.'


def load_python(path: str, attribute: str = "") -> tuple[WorkflowDocument | None, list[Diagnostic]]:
    """The workflow that a Python file builds: `attribute`, else `workflow`, else the only one there is."""
    try:
        code = compile(FilePath(path).read_bytes(), path, "exec")
    except OSError as error:
        return None, [_finding(Place(path), "SF105", f"{error.strerror or error}.")]
    except SyntaxError as error:
        return None, [_finding(Place(path, error.lineno or 1, error.offset or 1), "SF106", f"{error.msg}.")]
    except ValueError as error:  # null bytes
        return None, [_finding(Place(path), "SF106", f"{error}.")]
    module = _module(path)
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the file is what the user asked for
    except (Exception, SystemExit) as error:  # whatever the user's code raises is a finding about that code
        line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == path), 1)
        return None, [_finding(Place(path, line or 1, 1), "SF106", f"{type(error).__name__}: {error}")]
    found = {name: value for name, value in vars(module).items() if isinstance(value, Workflow)}
    chosen = attribute or ("workflow" if "workflow" in found else next(iter(found)) if len(found) == 1 else "")
    if chosen not in found:
        what = f"the file defines no Workflow {attribute!r}." if attribute else "the file defines no Workflow."
        mend = suggestion(attribute, found) if attribute and found else _EXAMPLE
        if len(found) > 1 and not attribute:
            what = f"the file defines {len(found)} Workflows: {', '.join(found)}."
            mend = f"Say which: {path}:{next(iter(found))}."
        return None, [_finding(Place(path), "SF106", what, mend)]
    workflow = found[chosen]
    return workflow.as_written(), workflow.findings()


def _module(path: str) -> ModuleType:
    """A fresh module for the file; modules beside it can be imported, as when Python runs it."""
    folder = str(FilePath(path).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"streamflow_file_{sha256(str(FilePath(path).resolve()).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    return module


def _finding(place: Place, code: str, message: str, mend: str = "") -> Diagnostic:
    return Diagnostic(place=place, code=code, message=message, mend=mend)
