"""YAML as people would write it: block style, plain where it can be, long texts over several lines."""

from __future__ import annotations

import re
from collections.abc import Mapping

LINE_CHARS_MAX = 8_000  # a document's lines have 65,536 characters at most
PLAIN_CHARS_MAX = 2_000

_PLAIN = re.compile(r"[A-Za-z_(][^\n]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CONSTANTS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
_SIGNS = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def lines_of(key: str, value: object, indent: int) -> list[str]:
    """`key: value` as lines, `indent` spaces in."""
    head = f"{' ' * indent}{key_text(key)}:"
    return _below(head, value, indent)


def _below(head: str, value: object, indent: int) -> list[str]:
    if isinstance(value, Mapping):
        if not value:
            return [f"{head} {{}}"]
        return [head, *(line for k, v in value.items() for line in lines_of(str(k), v, indent + 2))]
    if isinstance(value, list | tuple):
        if not value:
            return [f"{head} []"]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value) and len(value) <= 20:
            return [f"{head} [{', '.join(_number(v) for v in value)}]"]
        return [head, *(line for v in value for line in _item(v, indent + 2))]
    if isinstance(value, str):
        return _text_lines(head, value, indent)
    return [f"{head} {_scalar(value)}"]


def _item(value: object, indent: int) -> list[str]:
    """An element of a list; a mapping begins on the line of its dash."""
    dash = f"{' ' * indent}-"
    if isinstance(value, Mapping) and value:
        lines = [line for k, v in value.items() for line in lines_of(str(k), v, indent + 2)]
        return [f"{dash} {lines[0][indent + 2 :]}", *lines[1:]]
    return _below(dash, value, indent)


def _text_lines(head: str, text: str, indent: int) -> list[str]:
    if "\n" in text and (block := _block(head, text, indent)) is not None:
        return block
    if _is_plain(text):
        return [f"{head} {text}"]
    if '"' in text and "'" not in text and text.isprintable() and len(text) <= PLAIN_CHARS_MAX and "\ufeff" not in text:
        return [f"{head} '{text}'"]
    return _quoted(head, text, indent)


def _is_plain(text: str) -> bool:
    return (
        len(text) <= PLAIN_CHARS_MAX
        and _PLAIN.fullmatch(text) is not None
        and text.isprintable()
        and text == text.strip()
        and ": " not in text
        and " #" not in text
        and not text.endswith(":")
        and text.lower() not in _CONSTANTS
    )


def _block(head: str, text: str, indent: int) -> list[str] | None:
    """As a block literal; None where one cannot hold it."""
    body = text.rstrip("\n")
    lines = body.split("\n")
    odd = any(not (line.replace("\t", "")).isprintable() or len(line) > LINE_CHARS_MAX for line in lines)
    if odd or not body.strip() or "\ufeff" in text:
        return None
    ends = len(text) - len(body)
    sign = "-" if ends == 0 else "" if ends == 1 else "+"
    inner = " " * (indent + 2)
    made = [f"{head} |2{sign}", *(f"{inner}{line}" if line else "" for line in lines)]
    return made + [""] * (ends - 1)


def _quoted(head: str, text: str, indent: int) -> list[str]:
    """In quotes; long text goes on on the next lines."""
    escaped = [_SIGNS.get(c) or (c if c.isprintable() and c != "\ufeff" else _escape(c)) for c in text]
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for sign in escaped:
        if length > LINE_CHARS_MAX:
            lines.append("".join(line) + "\\")
            line, length = [], 0
            if sign == " ":
                sign = "\\x20"  # blanks at the start of a line that goes on would be dropped
        line.append(sign)
        length += len(sign)
    lines.append("".join(line))
    inner = " " * (indent + 2)
    made = [f'{head} "{lines[0]}', *(f"{inner}{one}" for one in lines[1:])]
    made[-1] += '"'
    return made


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    raise TypeError(type(value).__name__)


def _number(value: object) -> str:
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def key_text(key: str) -> str:
    if _KEY.fullmatch(key) and key.lower() not in _CONSTANTS:
        return key
    return _quoted("", key[:LINE_CHARS_MAX], 0)[0].strip()


def comment(text: str, indent: int = 0) -> list[str]:
    """Lines of a comment; what YAML does not take is spelt out."""
    shown = "".join(c if c.isprintable() and c != "\ufeff" else "  " if c == "\t" else _escape(c) for c in text)
    parts = [shown[at : at + LINE_CHARS_MAX] for at in range(0, len(shown), LINE_CHARS_MAX)] or [""]
    return [f"{' ' * indent}# {part}".rstrip() for part in parts]
