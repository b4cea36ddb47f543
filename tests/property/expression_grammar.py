"""Generated expressions and frames for property tests: every signature of the function table is in the grammar."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import polars as pl
from hypothesis import strategies as st

from streamflow.expressions.functions import FUNCTIONS
from streamflow.expressions.values import from_python
from streamflow.model.types import (
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LOCAL_MS,
    LONG,
    STRING,
    TIME_US,
    TIMESTAMP_MS,
    TIMESTAMP_US,
    Type,
    array_of,
    map_of,
    record_of,
)

INNER = record_of({"x": DOUBLE.optional(), "k": STRING.optional()})
RECORD = record_of({"a": LONG.optional(), "s": STRING.optional(), "in": INNER.optional()})
SCHEMA = record_of(
    {
        "b": BOOL.optional(),
        "i": INT.optional(),
        "n": LONG.optional(),
        "m": LONG,
        "f": FLOAT.optional(),
        "x": DOUBLE.optional(),
        "y": DOUBLE,
        "s": STRING.optional(),
        "t": STRING,
        "d": DATE.optional(),
        "ts": TIMESTAMP_MS.optional(),
        "us": TIMESTAMP_US.optional(),
        "lo": LOCAL_MS.optional(),
        "tm": TIME_US.optional(),
        "r": RECORD.optional(),
        "ln": array_of(LONG.optional()).optional(),
        "lx": array_of(DOUBLE.optional()),
        "ls": array_of(STRING.optional()).optional(),
        "lb": array_of(BOOL.optional()).optional(),
        "ld": array_of(DATE.optional()).optional(),
        "ll": array_of(array_of(LONG.optional()).optional()).optional(),
        "dec": Type(kind="decimal", precision=12, scale=3, nullable=True),
        "mp": map_of(LONG.optional()).optional(),
        "by": BYTES.optional(),
        "en": Type(kind="enum", symbols=("red", "green"), nullable=True),
    }
)
# What JSON can say without loss.
JSON_SCHEMA = record_of(
    {
        f.name: f.type
        for f in SCHEMA.fields
        if f.name in {"b", "n", "m", "x", "y", "s", "t", "r", "ln", "lx", "ls", "lb", "ll"}
    }
)

_LONGS = [0, 1, -1, 2, 3, 7, -7, 10, 63, 100, 2**31 - 1, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]
_DOUBLES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 2.5, 1e-9, 3.0, 1e15, 1e300, -1e300, 5e-324, 9.3e18, 2.0**63, -(2.0**63)]
_STRANGE = [math.nan, math.inf, -math.inf]
_TEXTS = [
    "",
    "a",
    "A b",
    "ß",
    "İı",
    "Σς",
    "e\u0301",
    "\u00e9",
    "😀",
    "👩‍👩‍👧",
    "\u0000",
    "\n",
    " a ",
    "12",
    "-3",
    "1.5",
    "x1y22",
    "DE",
    "2024-02-29",
    "2024-02-29T12:30:00Z",
    "true",
    "Europe/Berlin",
    "UTC",
    "day",
    "month",
    "week",
    "%Y-%m-%d",
    "a,b",
    ",",
    "-",
    "\\1",
    "[a-z]+",
    "^x",
    "\u1e9e",
    "ǆ",
    "\ua7d1",
    "\u2028",
    "\u00a0",
    "a\tb",
]
_DAYS = [0, 1, -1, 59, 19782, 2932896, -719162, -719163, 2932897, 2**31 - 1, -(2**31)]
_MILLIS = [
    0,
    1,
    -1,
    86_399_999,
    1_709_210_096_789,
    253402300799999,
    253402300800000,
    -62135596800000,
    -62135596800001,
    2**63 - 1,
    -(2**63),
    9 * 10**15,
]


def _letters(random: Random) -> str:
    return "".join(
        chr(random.choice((random.randrange(0x250), random.randrange(0xD800), random.randrange(0xE000, 0x110000))))
        for _ in range(3)
    )


def _value(t: Type, random: Random, *, strange: bool) -> Any:
    """A value of a type, from its edges more often than not."""
    if t.nullable and random.random() < 0.2:
        return None
    match t.kind:
        case "bool":
            return random.random() < 0.5
        case "int":
            return random.choice([v for v in _LONGS if -(2**31) <= v < 2**31])
        case "long":
            return random.choice([*_LONGS, random.randrange(-20, 20), random.randrange(-20, 20)])
        case "double":
            return random.choice(
                [*_DOUBLES, *(_STRANGE if strange else []), *(random.randrange(-40, 40) / 4 for _ in range(9))]
            )
        case "float":
            return random.choice([0.0, -0.0, 0.5, -1.25, 3.0, *(_STRANGE if strange else [])])
        case "string":
            return random.choice([*_TEXTS, *(_letters(random) for _ in range(4))])
        case "enum":
            return random.choice(t.symbols)
        case "bytes":
            return random.choice([b"", b"a", b"\xff", b"\x00\x01", "é".encode()])
        case "date":
            return random.choice(_DAYS)
        case "time":
            return random.choice([0, 1_000, 86_399_999_999_000, 45_296_789_000_000])
        case "timestamp" | "local":
            return random.choice(_MILLIS)
        case "decimal":
            return random.choice([0, 1, -1, 1_100, 999_999_999_999, -123_456])
        case "array":
            return [_value(t.element, random, strange=strange) for _ in range(random.randrange(4))]
        case "map":
            return {k: _value(t.element, random, strange=strange) for k in ("a", "b", "é") if random.random() < 0.5}
        case _:
            return {f.name: _value(f.type, random, strange=strange) for f in t.fields}


def frames(schema: Type, *, strange: bool = True) -> st.SearchStrategy[pl.DataFrame]:
    """Frames of a record schema, full of edges. From a seed: drawing every value would take most of the time."""
    return st.builds(
        lambda seed, rows: random_frame(schema, seed, rows, strange=strange), st.integers(0, 2**32), st.integers(1, 12)
    )


def random_frame(schema: Type, seed: int, rows: int, *, strange: bool) -> pl.DataFrame:
    random = Random(seed)
    return frame_of([_value(schema, random, strange=strange) for _ in range(rows)], schema)


def frame_of(rows: list[dict[str, Any]], schema: Type) -> pl.DataFrame:
    columns = [from_python([r[f.name] for r in rows], f.type).alias(f.name) for f in schema.fields]
    return pl.DataFrame([pl.Series("@row", range(len(rows)), dtype=pl.UInt32), *columns])


# Fields and literals by what they are; functions by what they give.
_FIELDS: dict[str, list[str]] = {
    "bool": ["b"],
    "long": ["i", "n", "m", "r.a"],
    "double": ["f", "x", "y", "dec", 'r["in"].x'],
    "string": ["s", "t", "r.s", "en", 'item["s"]', 'r["in"].k'],
    "date": ["d"],
    "timestamp": ["ts", "us"],
    "local": ["lo"],
    "time": ["tm"],
    "bytes": ["by"],
    "array<long>": ["ln"],
    "array<double>": ["lx"],
    "array<string>": ["ls"],
    "array<bool>": ["lb"],
    "array<date>": ["ld"],
    "array<array>": ["ll"],
    "map": ["mp"],
    "record": ["r"],
}
_LITERALS: dict[str, list[str]] = {
    "bool": ["true", "false", "null"],
    "long": ["0", "1", "2", "-3", "9223372036854775807", "-9223372036854775808", "null"],
    "double": ["0.5", "0.0", "-2.5", "1e300", "3.0"],
    "string": [
        '"a"',
        '""',
        '"é😀"',
        '"12"',
        '"day"',
        '"months"',
        '"UTC"',
        '"Europe/Berlin"',
        '"[a-z]+"',
        '"^a"',
        '","',
        '"%Y-%m-%d"',
        "null",
    ],
    "date": ['date("2024-02-29")'],
    "timestamp": ['timestamp("2024-02-29T12:30:45.678Z")'],
    "local": ['parse_local("2024-03-31T02:30")'],
    "time": ["tm"],
    "bytes": ['b"a\\xff"'],
    "array<long>": ["[1, 2, 3]", "[]"],
    "array<double>": ["[0.5, 1.5]"],
    "array<string>": ['["a", "DE"]'],
    "array<bool>": ["[true, false]"],
    "array<date>": ["ld"],
    "array<array>": ["[[1], [2, 3]]"],
    "map": ["mp"],
    "record": ['{"a": 1, "s": "x", "in": {"x": 0.5, "k": "k"}}'],
}
_LISTS = ["array<long>", "array<double>", "array<string>", "array<bool>"]
_VALUES = ["bool", "long", "double", "string", *_LISTS]
_ANYWHERE = {"array": _LISTS, "value": _VALUES, "object": ["record"]}
# Text of another Python form, or not a value of the JSON kinds.
_SKIPPED = {"repeat", "range", "pad_left", "pad_right"}


def _table() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for function in dict.fromkeys(FUNCTIONS.values()):
        for signature in function.signatures:
            specs = [*signature.params, *([signature.variadic] * 2 if signature.variadic else [])]
            if not specs or "any" in specs or function.name in _SKIPPED:
                continue
            for count in range(len(specs), len(specs) + len(signature.optional) + 1):
                full = (*specs, *(s for s, _ in signature.optional))[:count]
                result = signature.result if isinstance(signature.result, str) else "?"
                found.setdefault(result, []).append((function.name, full))
    return found


CALLS = _table()
_OPERATORS = {
    "long": [
        "({long} + {long})",
        "({long} - {long})",
        "({long} * {long})",
        "({long} // {long})",
        "({long} % {long})",
        "-{long}",
        "{array<long>}[{long}]",
    ],
    "double": [
        "({double} + {double})",
        "({double} * {double})",
        "({long} / {double})",
        "({double} // {double})",
        "({double} % {double})",
        "({long} - {double})",
    ],
    "string": ["({string} + {string})", "{string}[{long}]", "{string}[{long}:{long}]", "{array<string>}[{long}]"],
    "bool": [
        "({long} < {double})",
        "({long} == {long})",
        "({string} >= {string})",
        "({double} != {double})",
        "({double} <= {double})",
        "({date} < {date})",
        "({timestamp} <= {timestamp})",
        "({string} in {array<string>})",
        "({long} not in {array<long>})",
        "(not {bool})",
        "({bool} and {bool})",
        "({bool} or {bool} or {bool})",
        "({long} < {long} <= {long})",
        "({bool} == {bool})",
        "({bool} and {long} // {long} > 0)",
        "({string} in {string})",
        "({double} in {array<double>})",
        "({array<long>} == {array<long>})",
        "({bytes} < {bytes})",
    ],
    "array<long>": ["[{long}, {long}]", "{array<long>}[{long}:]"],
    "array<string>": ["[{string}, {string}]"],
}
_GENERIC = [
    "({T} if {bool} else {T})",
    "coalesce({T}, {T})",
    "try({T}, {T})",
    "case({bool}, {T}, {bool}, {T}, {T})",
    "if_null({T}, {T})",
    "switch({long}, 1, {T}, {long}, {T}, {T})",
]


@st.composite
def expressions(draw: st.DrawFn, kind: str, depth: int = 3, fields: frozenset[str] | None = None) -> str:
    """Text of an expression of a kind."""
    if kind in _ANYWHERE:
        kind = draw(st.sampled_from(_ANYWHERE[kind]))
    kind = kind if kind in _FIELDS else "long"
    leaves = [
        f for f in _FIELDS[kind] if fields is None or f.split(".")[0].split("[")[0] in fields or f.startswith("item")
    ]
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from([*leaves, *leaves, *_LITERALS[kind]]))
    form = draw(st.integers(0, 9))
    if form < 2:
        template = draw(st.sampled_from(_GENERIC)).replace("{T}", f"{{{kind}}}")
    elif form < 5 and kind in _OPERATORS:
        template = draw(st.sampled_from(_OPERATORS[kind]))
    elif kind in CALLS:
        name, specs = draw(st.sampled_from(CALLS[kind]))
        template = f"{name}({', '.join('{' + s + '}' for s in specs)})"
    else:
        return draw(st.sampled_from([*leaves, *_LITERALS[kind]]))
    parts: list[str] = []
    rest = template
    while "{" in rest:
        before, _, rest = rest.partition("{")
        spec, _, rest = rest.partition("}")
        parts += [before, draw(expressions(spec, depth - 1, fields))]
    return "".join((*parts, rest))


def any_expressions(depth: int = 3, fields: frozenset[str] | None = None) -> st.SearchStrategy[str]:
    """Expressions of any kind that has many functions; and calls whose result depends on their arguments."""
    kinds = [
        k
        for k in ("bool", "long", "double", "string", "date", "array<string>", "array<long>", "timestamp")
        if fields is None or k in _VALUES
    ]
    plain = st.sampled_from(kinds).flatmap(lambda kind: expressions(kind, depth, fields))
    return plain | st.sampled_from(CALLS["?"]).flatmap(lambda found: call(found, depth - 1, fields))


@st.composite
def call(draw: st.DrawFn, found: tuple[str, tuple[str, ...]], depth: int, fields: frozenset[str] | None) -> str:
    name, specs = found
    return f"{name}({', '.join(draw(expressions(s, depth, fields)) for s in specs)})"
