"""A list of diagnostics that is filled while a document is read."""

from __future__ import annotations

from typing import Literal

from streamflow.sdk.params import clipped
from streamflow.sdk.places import Diagnostic, Place


class Findings(list[Diagnostic]):
    """Diagnostics in the order they were found."""

    def report(
        self,
        place: Place,
        code: str,
        message: str,
        mend: str = "",
        *,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        self.append(Diagnostic(place=place, code=code, message=clipped(message), mend=clipped(mend), severity=severity))
