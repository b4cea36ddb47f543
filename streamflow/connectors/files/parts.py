"""Names of a file sink's files, and who may touch them.

    .orders-3-000007.1f2e3d4c.12-9a8b7c6d.staged   being written: partition 3, number 7, of node 1f2e3d4c, by the writer
                                                   9a8b7c6d in tenure 12
    .orders-3-000007.1f2e3d4c.12-9a8b7c6d.sealed   whole, where the format of the file is not that of the staged one
    orders-3-000007.csv                            what the user sees

A writer may have lost its task without knowing it: a process that was stopped goes on in the middle of a write. So
nobody writes to a file of somebody else; who takes a part over copies what is committed into a file of its own. And
nobody removes a file of somebody who came later: a tenure is one more than the one that was committed when it began,
so what a successor writes is always of a greater tenure than what its predecessor may remove.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, Self

import orjson

from streamflow.sdk.errors import Fenced

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A staged file: how much of it counts, and whose it is. `tenure` 0: nobody has begun it."""

    number: int = 0
    rows: int = 0
    size_bytes: int = 0
    counted_bytes: int = 0  # what is held against the greatest size of a file
    tenure: int = 0
    writer: str = ""

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, text: bytes | None) -> Self:
        return cls(**orjson.loads(text)) if text else cls()

    def next(self) -> Part:
        """The part behind this one, of the same writer."""
        return Part(number=self.number + 1, tenure=self.tenure, writer=self.writer)


class PartFiles:
    """The files of one sink node in one partition. `owner` tells it from other nodes that write beside it."""

    def __init__(self, path: Path, partition: int, owner: str) -> None:
        self._folder, self._suffix = path.parent, "".join(path.suffixes[-1:])
        self._stem, self._owner = f"{path.name.removesuffix(self._suffix)}-{partition}", owner
        self._hidden = re.compile(
            rf"\.{re.escape(self._stem)}-\d+\.{re.escape(owner)}\.(\d+)-[0-9a-f]+\.(staged|sealed)"
        )

    def staged(self, part: Part) -> Path:
        return self._folder / f".{self._stem}-{part.number:06d}.{self._owner}.{part.tenure}-{part.writer}.staged"

    def adopt(self, part: Part, writer: str) -> Part:
        """The part as a file of `writer`, with what is committed of it.

        Raises Fenced: the file that the store names is gone.
        """
        mine = replace(part, tenure=part.tenure + 1, writer=writer)
        if part.size_bytes:
            # Not a rename: whoever has the old file open may still write to it.
            with writing(self.staged(part), "rb") as source, self.staged(mine).open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
                target.truncate(part.size_bytes)
        return mine

    def give_name(self, sealed: Path, number: int) -> None:
        """Let a whole file be seen, once: again and again, by whoever thinks it is his, changes nothing. A file that is
        there already, and is another one, keeps its name; then this one's gets `~1`, `~2`, … behind its number.
        """
        with contextlib.suppress(FileNotFoundError):  # somebody did it before
            again = 0
            while not self._linked(sealed, self._final(number, again)):
                again += 1
            sync_folder(self._folder)
            sealed.unlink()

    def sweep(self, tenure: int, named: Collection[Path]) -> None:
        """Remove hidden files up to a tenure that is committed, but for those that the store names."""
        for path in self._folder.glob(f".{self._stem}-*"):
            found = self._hidden.fullmatch(path.name)
            if found and int(found[1]) <= tenure and path not in named:
                path.unlink(missing_ok=True)

    def hidden(self, name: str) -> Path:
        return self._folder / name

    def make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def _linked(self, sealed: Path, final: Path) -> bool:
        """Whether `final` is the sealed file now. A link never replaces a file, which a rename would."""
        try:
            os.link(sealed, final)
        except FileExistsError:
            return final.samefile(sealed)
        return True

    def _final(self, number: int, again: int) -> Path:
        return self._folder / f"{self._stem}-{number:06d}{f'~{again}' if again else ''}{self._suffix}"


@contextlib.contextmanager
def writing(path: Path, mode: Literal["rb", "r+b", "wb"]) -> Iterator[BinaryIO]:
    """A hidden file that must exist, open. Raises Fenced."""
    try:
        stream = path.open(mode)
    except FileNotFoundError as error:
        raise Fenced(
            f"{path} is gone: another process has taken this task over, or somebody removed the file.",
            mend="Hidden files hold rows that are committed: leave them alone while the workflow has not ended.",
        ) from error
    with stream:
        yield stream


def sync(path: Path) -> None:
    with writing(path, "rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Make a new name durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
