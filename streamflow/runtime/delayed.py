"""Items that wait for their next try, in the changelogged state of a node, by the time of it.

Entries of the store:
    c                  what there is in all: items, bytes, and a number for the next item
    r<time><number>    items that are tried again at that time, one behind another; the number is that of the first
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from streamflow.model.policies import ParkingPolicy
from streamflow.operators.alarms import Alarms
from streamflow.operators.waiting import due_parts, framed, split
from streamflow.sdk.state import StateStore

TAKEN_ENTRIES_MAX: Final = 8_192  # that are taken at once
TAKEN_BYTES_MAX: Final = 1 << 20
PART_BYTES_MAX: Final = 64 << 10  # of an entry, unless one item alone takes more
_TOTALS: Final = b"c"
_ITEMS: Final = b"r"
_AFTER_ITEMS: Final = b"s"
_COUNTS = struct.Struct(">qqq")


class DelayedItems:
    """The items of one task. Its totals are kept until the store says that they are void."""

    def __init__(self, store: StateStore, limits: ParkingPolicy) -> None:
        self._store, self._limits = store, limits
        self._alarms = Alarms(_ITEMS)
        self._load()

    def refresh(self) -> None:
        """Forget what is void: call it before anything else in a step."""
        if self._store.generation != self._generation:
            self._load()

    def _load(self) -> None:
        self._generation = self._store.generation
        found = self._store.get(_TOTALS)
        self._items, self._bytes, self._number = _COUNTS.unpack(found) if found is not None else (0, 0, 0)

    def __len__(self) -> int:
        items: int = self._items
        return items

    def due_ms(self) -> int | None:
        """When the next item is to be tried."""
        return self._alarms.next_ms(self._store)

    def put(self, due: Sequence[int], items: Sequence[bytes]) -> Mapping[int, str]:
        """Let items wait until their times. Of those that find no room: place among these items -> why."""
        limits, refused, kept = self._limits, dict[int, str](), list[int]()
        for at, item in enumerate(items):
            if self._items >= limits.items_max:
                refused[at] = f"{limits.items_max} items of the task wait (items_max)"
            elif self._bytes + len(item) > limits.bytes_max:
                refused[at] = f"items of the task of {limits.bytes_max} bytes wait (bytes_max)"
            else:
                kept.append(at)
                self._items += 1
                self._bytes += len(item)
        if not kept:
            return refused
        times = [due[at] for at in kept]
        names: list[bytes] = []
        parts: list[bytes] = []
        for at_ms, first, part in due_parts(times, [items[at] for at in kept], bytes_max=PART_BYTES_MAX):
            names.append(self._alarms.name(at_ms, (self._number + first).to_bytes(8, "big")))
            parts.append(part)
        self._store.put_many(names, parts)
        self._alarms.put(self._store, min(times))
        self._number += len(kept)
        return refused

    def take(self, now_ms: int) -> list[bytes]:
        """Items whose time has come, in the order of their times, and of one time in that of their failures. What is
        too much for one step is due still.
        """
        entries = self._alarms.take(
            self._store, now_ms, entries_max=TAKEN_ENTRIES_MAX, bytes_max=TAKEN_BYTES_MAX
        )  # fmt: skip
        items = [item for _, _, entry in entries for item in split(entry)]
        self._items -= len(items)
        self._bytes -= sum(map(len, items))
        return items

    def entries(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """All that waits, entry by entry: its name, and its items."""
        for name, entry in self._store.scan(_ITEMS, _AFTER_ITEMS):
            yield name, split(entry)

    def drop(self, numbers: Collection[int]) -> None:
        """Items that wait no longer, by their places among those of all entries."""
        first = 0
        for name, own in list(self.entries()):
            left = [item for at, item in enumerate(own, first) if at not in numbers]
            first += len(own)
            if len(left) == len(own):
                continue
            self._items -= len(own) - len(left)
            self._bytes -= sum(map(len, own)) - sum(map(len, left))
            if left:
                self._store.put(name, b"".join(map(framed, left)))
            else:
                self._store.delete(name)

    def write_totals(self) -> None:
        """Once a step, behind all changes."""
        self._store.put(_TOTALS, _COUNTS.pack(self._items, self._bytes, self._number))


def waiting_items(entries: Sequence[tuple[bytes, bytes]]) -> tuple[list[int], list[bytes]]:
    """(time of its next try, item) of all entries of a store."""
    alarms, due, items = Alarms(_ITEMS), list[int](), list[bytes]()
    for name, entry in entries:
        if name.startswith(_ITEMS):
            own = split(entry)
            items += own
            due += [alarms.read(name)[0]] * len(own)
    return due, items
