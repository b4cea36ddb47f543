"""Files that a document names: beside it, or in folders below."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


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
