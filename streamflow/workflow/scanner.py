"""YAML tokens with one extension: inside a flow mapping, unquoted text may hold balanced brackets on one line.

`{type: if, when: country in ["DE", "FR"]}` is how people write expressions. Plain YAML refuses it (a `[` may not stand
in unquoted text of a flow mapping), so no valid YAML changes its meaning by accepting it. A comma in round brackets is
another matter: `{when: max(a, b) > 3}` *is* valid YAML that means something else, so the reader reports it instead.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml.scanner import Scanner

_CLOSING = {"[": "]", "{": "}", "(": ")"}
_LINE_END = "\0\r\n\x85\u2028\u2029"


class ExpressionScanner(Scanner):  # type: ignore[misc,unused-ignore]
    """ruamel's scanner, reading `text [ … ] text` as one plain scalar inside flow collections."""

    def scan_plain(self) -> Any:
        token = super().scan_plain()
        reader = self.reader
        while self.flow_level and reader.peek() in "[{" and reader.line == token.end_mark.line:
            length = self._balanced()
            if not length:
                break  # the parser reports the stray bracket
            gap = " " * (reader.column - token.end_mark.column)
            token.value += gap + reader.prefix(length)
            reader.forward(length)
            token.end_mark = reader.get_mark()
            spaces = 0
            while reader.peek(spaces) in " \t":
                spaces += 1
            if reader.peek(spaces) in ",]}:#" + _LINE_END:
                continue
            reader.forward(spaces)
            more = super().scan_plain()
            token.value += " " * spaces + more.value
            token.end_mark = more.end_mark
        return token

    def _balanced(self) -> int:
        """Characters from here to the bracket that closes the one here, on this line; 0 if there is none."""
        closing: list[str] = []
        quote, at = "", 0
        while (char := self.reader.peek(at)) not in _LINE_END:
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            elif char in _CLOSING:
                closing.append(_CLOSING[char])
            elif char in "]})" and char != closing.pop():
                return 0
            at += 1
            if not closing:
                return at
        return 0
