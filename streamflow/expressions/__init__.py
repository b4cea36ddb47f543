"""Expressions: a small typed language, a subset of Python's expression syntax, with two backends of one meaning.

    text --scan, parse--> syntax tree --check (scope, types)--> typed tree
    typed tree --> polars_backend (columns of known types) | python_backend (JSON values)

`compile_projection` is what nodes use; `references` is what the compiler asks before schemas are known. The functions
of the language are in functions/, one entry each, from which docs/expressions.md is made (document.py).
"""

from __future__ import annotations

from streamflow.expressions.projection import CompiledProjection, compile_projection, typecheck
from streamflow.expressions.references import WHOLE, References, references
from streamflow.expressions.templates import constant, parse_template

__all__ = [
    "WHOLE",
    "CompiledProjection",
    "References",
    "compile_projection",
    "constant",
    "parse_template",
    "references",
    "typecheck",
]
