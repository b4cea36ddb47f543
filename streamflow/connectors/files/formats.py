"""Which files a path stands for, and how each is encoded."""

from __future__ import annotations

import glob
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from streamflow.sdk.errors import UsageError

FileFormat = Literal["jsonl", "csv", "avro", "parquet"]
FILES_MAX = 100_000
_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".avro": "avro",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileKind:
    """How a file is encoded."""

    format: FileFormat
    gzip: bool = False
    delimiter: str = ","


def kind_of(path: str | Path, given: FileFormat | None = None) -> FileKind:
    """The encoding of a file by its name, or the one that was given. Raises UsageError when nothing tells it."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    last = suffixes[-2:-1] if zipped else suffixes[-1:]
    found = given or (_SUFFIXES.get(last[0]) if last else None)
    if found is None:
        raise UsageError(
            f"the name of {Path(path).name!r} does not tell its format.",
            mend=f"Set format, or end the name in one of {', '.join(_SUFFIXES)} (.gz may follow jsonl and csv).",
        )
    if zipped and found in ("avro", "parquet"):
        raise UsageError(f"{Path(path).name!r}: {found} files compress their own blocks; .gz is for jsonl and csv.")
    return FileKind(found, zipped, "\t" if last == [".tsv"] else ",")


def files_of(pattern: str, base_folder: str) -> list[Path]:
    """Files that a path or glob stands for, in order of name. Relative to `base_folder`; folders are left out."""
    full = str(Path(base_folder or ".") / pattern)
    if not glob.has_magic(full) or Path(full).exists():
        return [Path(full)] if Path(full).is_file() else []
    found = sorted(Path(p) for p in glob.iglob(full, recursive=True) if Path(p).is_file())
    if len(found) > FILES_MAX:
        raise UsageError(f"{pattern!r} stands for more than {FILES_MAX:,} files.", mend="Narrow the pattern.")
    return found


def open_file(path: Path, kind: FileKind) -> BinaryIO:
    """The file's bytes, decompressed."""
    return cast(BinaryIO, gzip.open(path, "rb")) if kind.gzip else path.open("rb")
