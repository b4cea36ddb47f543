"""What can be wrong with an expression: the table of codes, and the exception that carries one to its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SYNTAX = "SF210"
UNKNOWN_NAME = "SF211"
TYPE_MISMATCH = "SF212"
UNKNOWN_FUNCTION = "SF213"
WRONG_ARGUMENTS = "SF214"
LIMIT_EXCEEDED = "SF215"
FORBIDDEN = "SF216"
BAD_REGEX = "SF217"
BAD_CONSTANT = "SF218"

CODES: dict[str, str] = {
    SYNTAX: "the text is no expression",
    UNKNOWN_NAME: "a name, field, node or variable does not exist",
    TYPE_MISMATCH: "an operator or the place where the expression stands does not take this type",
    UNKNOWN_FUNCTION: "there is no function of that name",
    WRONG_ARGUMENTS: "a function does not take these arguments",
    LIMIT_EXCEEDED: "the expression is too long, too deep or holds too large a number",
    FORBIDDEN: "Python syntax that expressions leave out",
    BAD_REGEX: "a regular expression that RE2 does not take",
    BAD_CONSTANT: "a constant part of the expression fails whatever the item holds",
}


class Problem(Exception):
    """One finding at a character offset of the expression's text."""

    def __init__(self, offset: int, code: str, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.offset, self.code, self.message, self.mend = offset, code, message, mend


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'amount'?`, or "" when nothing known is near."""
    candidates = sorted(set(known))
    folded = {c.casefold(): c for c in candidates}
    if name.casefold() in folded:
        return f"did you mean {folded[name.casefold()]!r}?"
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""
