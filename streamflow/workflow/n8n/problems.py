"""What can be wrong with an import."""

from __future__ import annotations

from streamflow.sdk.errors import DocumentError, StreamflowError


class ImportRefused(DocumentError):
    """The file is no export that can be read at all."""

    code = "SF150"


class NoEquivalent(StreamflowError):
    """Something of a node cannot be said here: the node becomes a stub.

    `path`: the parameter, such as `parameters.rules.values[0].outputKey`; "" where it is the node as a whole.
    """

    code = "SF151"

    def __init__(self, what: str, *, path: str = "") -> None:
        self.what, self.path = what, path
        super().__init__(f"{path}: {what}." if path else f"{what}.")
