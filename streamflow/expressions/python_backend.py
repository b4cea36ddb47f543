"""The Python backend: one generated function per expression that loops over rows.

The code inside the loop is made by `python_code`; here are the loop around it, and running it over a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from streamflow.expressions.columns import error_column
from streamflow.expressions.failure import TOO_LARGE, Fail
from streamflow.expressions.python_code import Emitter
from streamflow.expressions.tree import Node
from streamflow.expressions.values import UNREADABLE, from_python, to_python
from streamflow.model.batch import Parsed

# As `values.json_text`. What is nested too deeply to be written is too large.
_JSON = {"dumps": orjson.dumps, "copied": b"%b", "Untold": orjson.JSONEncodeError}

Loop = Callable[..., tuple[list[Any], dict[int, int]]]


@dataclass(slots=True)
class PythonExpression:
    """An expression as a loop over columns in their Python representation."""

    node: Node
    columns: tuple[str, ...]
    _types: Mapping[str, Any]
    _loop: Loop
    _texts: bool  # whether the loop makes JSON texts, and no values
    source: str

    def run(self, frame: pl.DataFrame, parsed: Parsed) -> tuple[pl.Series, pl.Series | None]:
        """Values and error codes; `parsed` keeps columns that another expression of the same run has read."""
        for name in self.columns:
            if name not in parsed:
                parsed[name] = to_python(frame[name], self._types[name])
        values, codes = self._loop(frame.height, *(parsed[name] for name in self.columns))
        made = pl.Series(values, dtype=pl.Binary) if self._texts else from_python(values, self.node.type)
        return made, error_column(codes, frame.height)

    def is_json(self, column: str) -> bool:
        """Whether the values of a column that this reads are parsed JSON."""
        return self._types[column].kind == "any"  # type: ignore[no-any-return]

    def once(self) -> tuple[list[Any], dict[int, int]]:
        """Value and error of an expression that reads no column."""
        return compile_python(self.node, texts=False)._loop(1)


def compile_python(node: Node, *, texts: bool = True) -> PythonExpression:
    """Generate and compile the loop of one expression. `texts`: JSON values become texts there, one by one, so that
    objects of many rows are never held at once.
    """
    texts = texts and node.type.kind == "any"
    emitter = Emitter()
    atom, _ = emitter.emit(node)
    variables = list(emitter.columns.values())
    read = [f"C{v}" for v in variables]
    rows = f"zip({', '.join(read)})" if len(read) > 1 else "".join(read) or "range(n)"
    head = [
        f"def loop(n{''.join(', C' + v for v in variables)}):",
        " out = []; push = out.append; codes = {}",
        f" for {', '.join(variables) or '_'} in {rows}:",
        "  try:",
    ]
    pushed = [f"   push({atom})"]
    if texts:
        pushed = [
            f"   try: push(None if {atom} is None else copied % dumps({atom}))",
            f"   except Untold: raise Fail({TOO_LARGE}) from None",
        ]
    tail = [
        *pushed,
        "  except Fail as fail: codes[len(out)] = fail.code; push(None)",
        f"  except RecursionError: codes[len(out)] = {TOO_LARGE}; push(None)",
        " return out, codes",
    ]
    source = "\n".join([*head, *emitter.lines, *tail])
    scope: dict[str, Any] = {"Fail": Fail, "UNREADABLE": UNREADABLE, **_JSON, **emitter.bound}
    exec(compile(source, "<expression>", "exec"), scope)  # noqa: S102 - our own code, see above
    return PythonExpression(node, tuple(emitter.columns), emitter.types, scope["loop"], texts, source)
