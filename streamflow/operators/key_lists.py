"""State of keys that are each a short list of values, with the event time at which something becomes of them.

One entry for each key: the time for which its timer is set, and its values one behind another. A timer may ring too
early, since a list that waits longer does not move it; it is then set again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamflow.operators.timers import StoreTimers
from streamflow.sdk.state import StateStore

_LISTS, _TIMERS = b"g", b"t"
NEVER: Final = 2**63 - 1  # due at no time: no timer is set


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of some keys as they were loaded: values in order, whose each is, and what their timers are set for."""

    names: Sequence[bytes]
    values: list[bytes]
    group: list[int]  # index into `names` of each value, never falling
    rings: list[int]


class KeyLists:
    """Lists in a store of their own."""

    def __init__(self, store: StateStore) -> None:
        self._store, self._timers = store, StoreTimers(store, prefix=_TIMERS)

    def load(self, names: Sequence[bytes], *, rung_ms: int = -NEVER) -> Lists:
        """`rung_ms`: timers up to this time have rung and are there no more."""
        values: list[bytes] = []
        group: list[int] = []
        rings: list[int] = []
        for i, found in enumerate(self._store.get_many([_LISTS + name for name in names])):
            set_for = NEVER if found is None else int.from_bytes(found[:8], "big", signed=True)
            rings.append(NEVER if set_for <= rung_ms else set_for)
            own = [] if found is None else split_entry(found)
            values += own
            group += [i] * len(own)
        return Lists(names, values, group, rings)

    def keep(self, before: Lists, values: Mapping[int, list[bytes]], due: Mapping[int, int]) -> None:
        """New lists, by index into `before.names`; a key without one is forgotten. `due`: when something becomes of
        each; its timer is set where none rings early enough.
        """
        names: list[bytes] = []
        kept: list[bytes] = []
        for i, name in enumerate(before.names):
            own = values.get(i)
            if not own:
                self._store.delete(_LISTS + name)
                continue
            rings = before.rings[i]
            if due[i] < rings:
                self._timers.set(due[i], name)
                rings = due[i]
            names.append(_LISTS + name)
            framed = (len(value).to_bytes(4, "big") + value for value in own)
            kept.append(rings.to_bytes(8, "big", signed=True) + b"".join(framed))
        self._store.put_many(names, kept)

    @staticmethod
    def read(entries: Sequence[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
        """(key of each value, values) of all entries of a store."""
        keys: list[bytes] = []
        values: list[bytes] = []
        for name, value in entries:
            if name.startswith(_LISTS):
                own = split_entry(value)
                values += own
                keys += [name[len(_LISTS) :]] * len(own)
        return keys, values

    def ringing(self, watermark_ms: int) -> list[bytes]:
        """Keys whose timers ring, in order of their names; the timers are gone."""
        return sorted({name for _, name in self._timers.due(watermark_ms)})


def split_entry(entry: bytes) -> list[bytes]:
    """The values of an entry: behind 8 bytes for its timer, each behind its length in 4."""
    values: list[bytes] = []
    at = 8
    while at < len(entry):
        size = int.from_bytes(entry[at : at + 4], "big")
        values.append(entry[at + 4 : at + 4 + size])
        at += 4 + size
    return values
