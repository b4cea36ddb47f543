"""Items put aside by key, in the changelogged state of a node: a queue a key, and when its first item is tried again.

Entries of the store:
    c                      what there is in all: items, bytes, and a number for the next item that has no key
    h<key>                 a queue: first number, next number, bytes, tries of its first item, when that is tried again
    r<size of key><key><n> an item of a queue
    t<time><key>           a timer
A key is b"k" and the record's key; an item without one is a queue of its own, b"n" and its number.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from streamflow.model.policies import ParkingPolicy
from streamflow.operators.keyed import named_at, timed_name
from streamflow.sdk.state import StateStore

_TOTALS: Final = b"c"
_HEAD = struct.Struct(">qqqqq")
_COUNTS = struct.Struct(">qqq")


@dataclass(slots=True)
class Queue:
    """Items `first` to before `next` of a key."""

    name: bytes
    first: int = 0
    next: int = 0
    size_bytes: int = 0
    tries: int = 0  # of the first item
    due_ms: int = 0

    def __len__(self) -> int:
        return self.next - self.first

    def numbers(self, most: int) -> range:
        """Of its first items."""
        return range(self.first, min(self.next, self.first + most))


class ParkedItems:
    """The queues of one task. Reads of the store are kept until it says that they are void."""

    def __init__(self, store: StateStore, limits: ParkingPolicy) -> None:
        self._store, self._limits = store, limits
        self._generation = store.generation
        self._load()

    def refresh(self) -> None:
        """Forget what is void: call it before anything else in a step."""
        if self._store.generation != self._generation:
            self._generation = self._store.generation
            self._load()

    def _load(self) -> None:
        found = self._store.get(_TOTALS)
        self._items, self._bytes, self._unkeyed = _COUNTS.unpack(found) if found is not None else (0, 0, 0)
        self._due_ms: int | None = None
        self._stale = True
        self.queues: dict[bytes, Queue] = {}
        if self._items:
            for key, value in self._store.scan(b"h", b"i"):
                self.queues[key[1:]] = Queue(key[1:], *_HEAD.unpack(value))

    def __len__(self) -> int:
        items: int = self._items
        return items

    def due_ms(self) -> int | None:
        """When the next item is to be tried."""
        if self._stale:
            first = next(iter(self._store.scan(b"t", b"u")), None)
            self._due_ms, self._stale = (None if first is None else named_at(first[0][1:])[0]), False
        return self._due_ms

    def due(self, now_ms: int, most: int) -> list[Queue]:
        """Queues whose time has come, at most so many, in the order of their times and keys."""
        names = [name for name, _ in islice(self._store.scan(b"t", b"t" + timed_name(now_ms + 1, b"")), most)]
        return [self.queues[named_at(name[1:])[1]] for name in names]

    def unkeyed(self) -> bytes:
        """A name for an item without a key, which waits for no other."""
        self._unkeyed += 1
        number: int = self._unkeyed
        return b"n" + number.to_bytes(8, "big")

    def full(self, queue: Queue, size_bytes: int) -> str:
        """What keeps an item of this size out; "" if nothing does."""
        limits = self._limits
        if len(queue) >= limits.key_items_max:
            return f"{limits.key_items_max} items of its key wait (key_items_max)"
        if queue.size_bytes + size_bytes > limits.key_bytes_max:
            return f"items of its key of {limits.key_bytes_max} bytes wait (key_bytes_max)"
        if self._items >= limits.items_max:
            return f"{limits.items_max} items of the task wait (items_max)"
        if self._bytes + size_bytes > limits.bytes_max:
            return f"items of the task of {limits.bytes_max} bytes wait (bytes_max)"
        return ""

    def add(self, queue: Queue, item: bytes) -> None:
        """Put an item behind the others; `settle` the queue afterwards."""
        self._store.put(_item_name(queue.name, queue.next), item)
        queue.next += 1
        queue.size_bytes += len(item)
        self._items += 1
        self._bytes += len(item)

    def first(self, queue: Queue, most: int) -> list[bytes]:
        """The first items of a queue."""
        found = self._store.get_many([_item_name(queue.name, n) for n in queue.numbers(most)])
        assert all(value is not None for value in found), "a queue has all of its items"
        return [value for value in found if value is not None]

    def remove(self, queue: Queue, items: Sequence[bytes]) -> None:
        """Take the first items away, as `first` gave them; `settle` the queue afterwards."""
        self._store.delete_many([_item_name(queue.name, queue.first + n) for n in range(len(items))])
        size = sum(map(len, items))
        queue.first += len(items)
        queue.size_bytes -= size
        self._items -= len(items)
        self._bytes -= size

    def items(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(queue, number, item) of all that waits. Nothing may be changed meanwhile."""
        for name, item in self._store.scan(b"r", b"s"):
            queue, number = _read_item_name(name)
            yield queue, number, item

    def drop(self, gone: Mapping[bytes, Collection[int]], now_ms: int) -> None:
        """Take items out of queues, by number. Where the first is gone the next is tried at once."""
        for name, numbers in gone.items():
            queue = self.queues[name]
            before = range(queue.first, queue.next)
            found = dict(zip(before, self.first(queue, len(queue)), strict=True))
            left = [item for number, item in found.items() if number not in numbers]
            head = queue.first in numbers
            self._store.delete_many([_item_name(name, number) for number in before])
            queue.first = queue.next - len(left)
            self._store.put_many([_item_name(name, queue.first + i) for i in range(len(left))], left)
            size = sum(len(found[number]) for number in numbers)
            queue.size_bytes -= size
            self._items -= len(numbers)
            self._bytes -= size
            self.settle(queue, now_ms if head else queue.due_ms, 0 if head else queue.tries)
        self.write_totals()

    def settle(self, queue: Queue, due_ms: int, tries: int) -> None:
        """Write down what became of a queue: its first item has had so many tries, and is tried again at `due_ms`."""
        known = self.queues.get(queue.name)
        if known is not None and (not len(queue) or due_ms != queue.due_ms):
            self._store.delete(b"t" + timed_name(queue.due_ms, queue.name))
        if not len(queue):
            if known is not None:
                del self.queues[queue.name]
                self._store.delete(b"h" + queue.name)
        else:
            queue.due_ms, queue.tries = due_ms, tries
            self.queues[queue.name] = queue
            self._store.put(b"t" + timed_name(due_ms, queue.name), b"")
            head = _HEAD.pack(queue.first, queue.next, queue.size_bytes, tries, due_ms)
            self._store.put(b"h" + queue.name, head)
        self._stale = True

    def write_totals(self) -> None:
        """Once a step, behind all changes."""
        self._store.put(_TOTALS, _COUNTS.pack(self._items, self._bytes, self._unkeyed))


def _item_name(queue: bytes, number: int) -> bytes:
    return b"r" + len(queue).to_bytes(4, "big") + queue + number.to_bytes(8, "big")


def _read_item_name(name: bytes) -> tuple[bytes, int]:
    """(queue, number)"""
    return name[5:-8], int.from_bytes(name[-8:], "big")


def waiting_items(entries: Sequence[tuple[bytes, bytes]]) -> tuple[list[bytes | None], list[int], list[bytes]]:
    """(record key of each item, how many of its queue are before it, items) of all entries of a store."""
    firsts = {key[1:]: _HEAD.unpack(value)[0] for key, value in entries if key.startswith(b"h")}
    keys: list[bytes | None] = []
    behind: list[int] = []
    items: list[bytes] = []
    for key, value in entries:
        if key.startswith(b"r"):
            name, number = _read_item_name(key)
            keys.append(name[1:] if name.startswith(b"k") else None)
            behind.append(number - firsts[name])
            items.append(value)
    return keys, behind, items
