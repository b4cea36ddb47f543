"""Pieces of SVG that every part of the picture uses: wires, and text that fits and cannot break out."""

from __future__ import annotations

from html import escape

CHARS_MAX = 30


def wire(points: list[tuple[float, float]], style: str) -> str:
    """A path through points that leaves and enters them horizontally."""
    (x, y), *rest = points
    d = f"M {x:.1f} {y:.1f}"
    for nx, ny in rest:
        if abs(ny - y) < 0.05:
            d += f" H {nx:.1f}"
        else:
            bend = (nx - x) / 2
            d += f" C {x + bend:.1f} {y:.1f} {nx - bend:.1f} {ny:.1f} {nx:.1f} {ny:.1f}"
        x, y = nx, ny
    return f'<path class="{style}" d="{d}"/>'


def text_width(text: str, char_width: float) -> float:
    """Roughly how wide a text will be: fonts differ, so boxes have room to spare."""
    return len(text) * char_width


def short(text: str, chars_max: int = CHARS_MAX) -> str:
    """A label of bounded length: beginning and end of a long name say more than its middle."""
    if len(text) <= chars_max:
        return text
    half = (chars_max - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def escaped(text: str) -> str:
    """Text for XML: markup escaped, characters that XML refuses replaced."""
    return escape("".join(c if c.isprintable() else "�" for c in text))
