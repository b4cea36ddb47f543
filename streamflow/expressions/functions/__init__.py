"""The functions of the language, by family. An explicit table: nothing registers itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from streamflow.expressions.functions import (
    conditions,
    conversion,
    dates,
    encoding,
    lists,
    maps,
    numbers,
    operators,
    regex,
    sequences,
    strings,
)
from streamflow.expressions.signatures import Function

FAMILIES: tuple[ModuleType, ...] = (
    conditions,
    operators,
    sequences,
    strings,
    regex,
    numbers,
    dates,
    lists,
    maps,
    conversion,
    encoding,
)


def _table() -> dict[str, Function]:
    table: dict[str, Function] = {}
    for family in FAMILIES:
        for function in family.FUNCTIONS:
            for name in (function.name, *function.aliases):
                assert name not in table, name
                table[name] = function
    return table


FUNCTIONS: Mapping[str, Function] = MappingProxyType(_table())
