"""What commands print and how they end: facts on stdout, everything else on stderr, and three exit codes.

0 fine, 1 the workflow or the data is wrong, 2 the command was called wrongly. Errors that can be foreseen are one
message; only a defect of streamflow itself shows a traceback. With `--json`, stdout holds JSON and nothing else, also
when the command fails: then it is `{"error": {"code", "message", "mend"}}`, unless facts were already printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer


class _Call:
    """What is known of the command that runs now."""

    as_json = False
    printed = False  # facts are on stdout already


_call = _Call()


def note_json(wanted: bool) -> bool:
    """Callback of every `--json`: from here on errors are JSON too."""
    _call.as_json = wanted
    return wanted


def fail(message: str, *, code: int = 1, error: str = "", mend: str = "", **facts: object) -> NoReturn:
    """Print an error and leave. `error` is the code of a StreamflowError, `facts` go into the JSON."""
    print(f"error: {f'{error}: ' if error else ''}{message}{f' {mend}' if mend else ''}", file=sys.stderr)
    if _call.as_json and not _call.printed:
        print_json({"error": {"code": error, "message": message, "mend": mend} | facts})
    raise typer.Exit(code)


def print_json(value: object, *, line: bool = False) -> None:
    """One JSON value on stdout; on one line where a command prints many."""
    _call.printed = True
    print(json.dumps(value, indent=None if line else 2, ensure_ascii=False, default=str))


def note(message: str) -> None:
    """Something worth knowing that is no error."""
    print(f"note: {message}", file=sys.stderr)


def use_color(stream: Any = None) -> bool:
    """Whether `stream` (stderr unless told) is a terminal that may get colors."""
    out = sys.stderr if stream is None else stream
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def counted(count: int, thing: str, plural: str = "") -> str:
    """`1 topic`, `2 topics`."""
    return f"{count:,} {thing if count == 1 else plural or thing + 's'}"


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Columns under headers: text to the left, numbers to the right."""
    lines = [list(headers), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]
    padded = ([c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else one_line(str(value))


def one_line(text: str) -> str:
    """Text that keeps to its line and leaves the terminal alone: what is not printable is spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def told_errors() -> Iterator[None]:
    """Around every command: turns errors that can be foreseen into one message and an exit code."""
    from streamflow.sdk.errors import StreamflowError, UsageError

    _call.as_json = _call.printed = False
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output is gone, as in `streamflow tail … | head -1`: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except StreamflowError as error:
        fail(error.message, code=2 if isinstance(error, UsageError) else 1, error=error.code, mend=error.mend)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    except OSError as error:
        place = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        fail(f"{place}{error.strerror or error}.")
