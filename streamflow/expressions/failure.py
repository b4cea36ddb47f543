"""How the Python side of an expression says that an item failed: one exception with a code of `ITEM_ERROR_CODES`."""

from __future__ import annotations

OVERFLOW, DIVISION_BY_ZERO, BAD_CAST, MISSING_INDEX, WRONG_TYPE, INVALID_ARGUMENT, TOO_LARGE = range(1, 8)


class Fail(Exception):
    """This item fails with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
