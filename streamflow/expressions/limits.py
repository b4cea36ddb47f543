"""Limits of expressions, checked before anything that hostile text could stall or crash."""

from __future__ import annotations

LENGTH_MAX = 4_096  # characters of one expression
TOKENS_MAX = 1_000
BRACKETS_MAX = 50  # open brackets at once
DEPTH_MAX = 64  # levels of the syntax tree
LAZY_DEPTH_MAX = 40  # and / or / if / case / coalesce / try inside each other
TRY_DEPTH_MAX = 8
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
INT_MIN, INT_MAX = -(2**31), 2**31 - 1

TEXT_CHARS_MAX = 1 << 20  # what one function call may produce from smaller arguments: repeat, pad, replace, join
LIST_ITEMS_MAX = 100_000  # the same for range and concat
PATTERN_CHARS_MAX = 1_000  # a regular expression
PATTERN_MEMORY_BYTES_MAX = 4 << 20  # what RE2 may use for one compiled pattern
