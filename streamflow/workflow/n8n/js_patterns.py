"""Regular expressions of JavaScript, as RE2 takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import re2

from streamflow.workflow.n8n.js_tree import Call, Js, Literal, Member, Pattern
from streamflow.workflow.n8n.printed import Printed, call, quoted
from streamflow.workflow.n8n.problems import NoEquivalent

if TYPE_CHECKING:
    from streamflow.workflow.n8n.printer import Printer

_FLAGS = {"i": "i", "m": "m", "s": "s", "g": "", "u": "", "y": ""}
_NAMED = re.compile(r"\(\?<([A-Za-z_]\w*)>")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 4 << 20


def pattern_text(pattern: Pattern) -> str:
    """The source for RE2. Raises NoEquivalent where it has something that RE2 lacks, such as look-around."""
    if unknown := set(pattern.flags) - _FLAGS.keys():
        raise NoEquivalent(f"the flag {sorted(unknown)[0]!r} of a regular expression")
    flags = "".join(_FLAGS[f] for f in dict.fromkeys(pattern.flags))
    source = _NAMED.sub(r"(?P<\1>", pattern.source.replace("\\/", "/"))
    text = f"(?{flags}){source}" if flags else source
    return checked(text)


def checked(text: str) -> str:
    """A pattern that RE2 takes. Raises NoEquivalent."""
    if len(text) > 1_000:
        raise NoEquivalent("a regular expression of more than 1,000 characters")
    try:
        re2.compile(text, options=_OPTIONS)
    except re2.error:
        raise NoEquivalent(f"the regular expression {text[:60]!r}, which RE2 does not take") from None
    return text


def of_pattern(printer: Printer, pattern: Pattern, name: str, args: tuple[Js, ...]) -> Printed:
    """`/a/.test(x)`."""
    if name == "test" and len(args) == 1:
        return _match(printer.print(args[0]), pattern_text(pattern))
    raise NoEquivalent(f"`.{name}()` of a regular expression")


def matching(value: Printed, args: tuple[Js, ...]) -> Printed:
    """`x.match(/a/g)`: all that matches. Without `g` only its groups mean something, see `group`."""
    if len(args) == 1 and isinstance(args[0], Pattern):
        text = Printed(quoted(pattern_text(args[0])))
        if "g" in args[0].flags:
            return call("regex_find_all", _text(value), text, kind="list")
        return call("regex_extract", _text(value), text, kind="string")
    raise NoEquivalent("match() without a regular expression")


def group(printer: Printer, of: Js, key: Js) -> Printed | None:
    """`x.match(/a(b)/)[1]`; None where it is something else."""
    match of, key:
        case Call(of=Member(of=inner, name="match"), args=(Pattern() as pattern,)), Literal(value=int(number)) if (
            "g" not in pattern.flags and not isinstance(number, bool)
        ):
            text = Printed(quoted(pattern_text(pattern)))
            return call("regex_extract", _text(printer.print(inner)), text, Printed(str(number)), kind="string")
    return None


def replacing(printer: Printer, value: Printed, args: tuple[Js, ...], *, every: bool) -> Printed:
    """`x.replace(a, b)`: the first, or all with `g`."""
    if len(args) != 2:
        raise NoEquivalent("replace() without two arguments")
    new = printer.print(args[1])
    if isinstance(args[0], Pattern):
        if not isinstance(args[1], Literal) or not isinstance(args[1].value, str):
            raise NoEquivalent("replace() by something that is no constant text")
        return _by_pattern(value, args[0], args[1].value)
    old = printer.print(args[0])
    if every:
        return call("replace", _text(value), old, new, kind="string")
    if isinstance(args[0], Literal) and isinstance(args[1], Literal):
        return _first(value, re2.escape(str(args[0].value)), 0, str(args[1].value), "")
    # `limit` of a split does not exist: cut in two at the first occurrence.
    raise NoEquivalent("replace() of the first occurrence of something that is no constant text")


def _by_pattern(value: Printed, pattern: Pattern, new: str) -> Printed:
    source = pattern_text(pattern)
    if "g" in pattern.flags:
        made = Printed(quoted(source)), Printed(quoted(_replacement(new, 0)))
        return call("regex_replace", _text(value), *made, kind="string")
    flags = "".join(_FLAGS[f] for f in dict.fromkeys(pattern.flags))
    return _first(value, _NAMED.sub(r"(?P<\1>", pattern.source.replace("\\/", "/")), 1, new, flags)


def _first(value: Printed, source: str, dollars: int, new: str, flags: str) -> Printed:
    """Replace the first match only: what stands before it is matched too, from the start of the text."""
    inner = f"(?{flags}:{source})" if flags else f"(?:{source})"
    text = checked(f"\\A((?s:.)*?){inner}")
    by = "\\1" + (_replacement(new, 1) if dollars else new.replace("\\", "\\\\"))
    return call("regex_replace", _text(value), Printed(quoted(text)), Printed(quoted(by)), kind="string")


def _replacement(new: str, shift: int) -> str:
    """JavaScript's `$1` as RE2's `\\1`."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "\\":
            return "\\\\"
        if found[0] == "$$":
            return "$"
        if found[0] == "$&" and not shift:
            return "\\0"
        if found[0][1:].isdigit() and int(found[0][1:]) + shift <= 9:
            return f"\\{int(found[0][1:]) + shift}"
        raise NoEquivalent(f"{found[0]!r} in what replaces a match")

    return re.sub(r"\\|\$\$|\$&|\$\d{1,2}|\$[`'<]", one, new)


def _match(value: Printed, text: str) -> Printed:
    return call("regex_match", _text(value), Printed(quoted(text)), kind="bool")


def _text(value: Printed) -> Printed:
    return value
