"""Where something stands in a document, and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a document: file (or `<python>`), line and column, both from 1; 0 means unknown."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else (self.file or "<unknown>")

    def moved(self, columns: int) -> Place:
        """The place `columns` further right on the same line."""
        return Place(self.file, self.line, self.column + columns) if self.line else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding: where, which rule (`code`), what was found, and the nearest right thing (`mend`)."""

    place: Place
    code: str
    message: str
    mend: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        tail = f" {self.mend}" if self.mend else ""
        return f"{self.place}: {self.severity}: {self.code}: {self.message}{tail}"
