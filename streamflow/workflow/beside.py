"""Files that a document names: beside it or in folders below, and those of its project."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

MARKER: Final = "streamflow.root"
_PARENTS_MAX: Final = 32


def beside(base_folder: str, written: str) -> Path | str:
    """The YAML file that is meant, whether it exists or not; a text says why none is. Nothing outside of the folder
    can be named, not by links either.
    """
    path = PurePosixPath(written)
    if "\\" in written or path.suffix not in (".yaml", ".yml"):
        return "it is no YAML file"
    if path.is_absolute() or ".." in path.parts:
        return "it does not stand in the folder of this workflow or below it"
    base = Path(base_folder or ".")
    file = base / path
    if not file.resolve().is_relative_to(base.resolve()):
        return "it leads out of the folder of this workflow"
    return file


def project_root(base_folder: str) -> Path:
    """The folder that all files of a project are in, resolved: the nearest one, from the workflow's upwards, with a
    file `streamflow.root`; without one, the workflow's own.
    """
    folder = Path(base_folder or ".").resolve()
    marked = (parent for parent in [folder, *folder.parents][:_PARENTS_MAX] if (parent / MARKER).is_file())
    return next(marked, folder)


def of_project(base_folder: str, written: str, root: Path) -> Path | str:
    """The YAML file of a project that is meant, whether it exists or not; a text says why none is. `written` is a path
    from `base_folder`; nothing outside of `root` can be named, not by links either.
    """
    path = PurePosixPath(written)
    if "\\" in written or "\0" in written or path.suffix not in (".yaml", ".yml"):
        return "it is no YAML file"
    if path.is_absolute():
        return "it is an absolute path"
    file = Path(base_folder or ".") / path
    if not file.resolve().is_relative_to(root):
        return f"it leads out of the project, which is folder {str(root)!r}"
    return file
