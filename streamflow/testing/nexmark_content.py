"""What Nexmark events hold. The number of an event decides about everything in it: kind, ids, times and texts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streamflow.testing.nexmark_draws import Draws, Int64s, sequence

BASE_MS: Final = 1_436_918_400_000  # 2015-07-15T00:00:00Z
PERSON, AUCTION, BID = 0, 1, 2
KINDS: Final = ("person", "auction", "bid")

_ID_FIRST: Final = 1000
_CATEGORY_FIRST: Final = 10
_HOT_EVERY: Final = 100
_LEAD: Final = 10  # ids this far ahead of the newest are named already
_POOL_LETTERS: Final = 65_536
_CHANNELS: Final = 10_000
_TABLES_STREAM: Final = 1 << 63
_HOT_CHANNELS: Final = ("Google", "Facebook", "Baidu", "Apple")
_FIRST_NAMES: Final = ("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter")
_LAST_NAMES: Final = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
_CITIES: Final = (
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne",
)  # fmt: skip
_STATES: Final = ("AZ", "CA", "ID", "OR", "WA", "WY")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tables:
    """What all events of a seed share. `channels` and `urls`: the four hot ones, then the other 10,000."""

    pool: str
    channels: tuple[str, ...]
    urls: tuple[str, ...]


@functools.lru_cache(maxsize=4)
def tables(seed: int) -> Tables:
    """The tables of a seed; about 0.1 s the first time."""
    per_url_max = 3 * 5 + 1  # three texts of a length and at most four letters, and whether an id follows
    draws = sequence(seed, _TABLES_STREAM, _POOL_LETTERS + per_url_max * (len(_HOT_CHANNELS) + _CHANNELS))
    letters = (ord("a") + draws[:_POOL_LETTERS] % np.uint64(26)).astype(np.uint8)
    rest = iter(draws[_POOL_LETTERS:].tolist())
    urls = [_url(rest) for _ in _HOT_CHANNELS]
    for i in range(_CHANNELS):
        url = _url(rest)
        urls.append(f"{url}&channel_id={_bits_reversed(i)}" if next(rest) % 10 > 0 else url)
    channels = (*_HOT_CHANNELS, *(f"channel-{i}" for i in range(_CHANNELS)))
    return Tables(letters.tobytes().decode("ascii"), channels, tuple(urls))


def time_ms(number: Int64s, rate: int) -> Int64s:
    """`dateTime` of events, epoch ms. `rate`: events per second of event time."""
    return BASE_MS + number * 1000 // rate


def kind_of(number: Int64s) -> Int64s:
    """0 person, 1 auction, 2 bid: 1 : 3 : 46."""
    slot = number % 50
    return (slot > 0).astype(np.int64) + (slot > 3)


def bodies(kind: int, number: Int64s, *, seed: int, rate: int) -> list[Body]:
    """The records of events `number` (shape n), all of one kind: dicts in the order of the record's fields."""
    make = {PERSON: _persons, AUCTION: _auctions, BID: _bids}[kind]
    return make(number, Draws(seed, number.astype(np.uint64)), tables(seed), rate)


def _persons(number: Int64s, draws: Draws, shared: Tables, rate: int) -> list[Body]:
    first, last = draws.below(len(_FIRST_NAMES)).tolist(), draws.below(len(_LAST_NAMES)).tolist()
    mailbox, host = draws.texts(7), draws.texts(5)
    groups = [draws.below(10_000).tolist() for _ in range(4)]
    city, state = draws.below(len(_CITIES)).tolist(), draws.below(len(_STATES)).tolist()
    fields = [
        (
            f"{_FIRST_NAMES[f]} {_LAST_NAMES[n]}",
            f"{m}@{h}.com",
            " ".join(f"{g:04}" for g in card),
            _CITIES[c],
            _STATES[s],
        )
        for f, n, m, h, card, c, s in zip(
            first, last, mailbox, host, zip(*groups, strict=True), city, state, strict=True
        )
    ]
    extra = _extras(draws, shared, [8 + sum(map(len, texts)) for texts in fields], 200)
    names = ("name", "emailAddress", "creditCard", "city", "state")
    ids, times = (_ID_FIRST + _last_person(number)).tolist(), time_ms(number, rate).tolist()
    return [
        {"id": i, **dict(zip(names, texts, strict=True)), "dateTime": t, "extra": e}
        for i, texts, t, e in zip(ids, fields, times, extra, strict=True)
    ]


def _auctions(number: Int64s, draws: Draws, shared: Tables, rate: int) -> list[Body]:
    seller = _person_or_hot(number, draws, hot_offset=0)
    category = (_CATEGORY_FIRST + draws.below(5)).tolist()
    first_bid = draws.prices()
    times = time_ms(number, rate)
    horizon_ms = time_ms(number + 1666, rate) - times
    expires = times + 1 + draws.below(np.maximum(2 * horizon_ms, 1))
    items, descriptions = draws.texts(20), draws.texts(100)
    reserve = [f + more for f, more in zip(first_bid, draws.prices(), strict=True)]
    sizes = [48 + len(i) + len(d) for i, d in zip(items, descriptions, strict=True)]
    columns = (
        (_ID_FIRST + _last_auction(number)).tolist(), items, descriptions, first_bid, reserve, times.tolist(),
        expires.tolist(), seller.tolist(), category, _extras(draws, shared, sizes, 500),
    )  # fmt: skip
    names = (
        "id", "itemName", "description", "initialBid", "reserve", "dateTime", "expires", "seller", "category", "extra",
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _bids(number: Int64s, draws: Draws, shared: Tables, rate: int) -> list[Body]:
    newest = _last_auction(number)
    hot = draws.below(2) > 0
    oldest = np.maximum(newest - 100, 0)
    some = oldest + draws.below(newest - oldest + 1 + _LEAD, ~hot)
    auction = (_ID_FIRST + np.where(hot, newest // _HOT_EVERY * _HOT_EVERY, some)).tolist()
    bidder = _person_or_hot(number, draws, hot_offset=1).tolist()
    price = draws.prices()
    hot = draws.below(2) > 0
    chosen = draws.below(np.where(hot, len(_HOT_CHANNELS), _CHANNELS))
    channel = np.where(hot, chosen, chosen + len(_HOT_CHANNELS)).tolist()
    extra = _extras(draws, shared, [32] * len(number), 100)
    return [
        {
            "auction": a,
            "bidder": b,
            "price": p,
            "channel": shared.channels[c],
            "url": shared.urls[c],
            "dateTime": t,
            "extra": e,
        }
        for a, b, p, c, t, e in zip(auction, bidder, price, channel, time_ms(number, rate).tolist(), extra, strict=True)
    ]


def _last_person(number: Int64s) -> Int64s:
    return number // 50


def _last_auction(number: Int64s) -> Int64s:
    """The newest auction when an event comes; the first event has none before it and is no bid."""
    epoch, slot = number // 50, number % 50
    return np.where(slot == 0, epoch * 3 - 1, epoch * 3 + np.minimum(slot - 1, 2))


def _person_or_hot(number: Int64s, draws: Draws, *, hot_offset: int) -> Int64s:
    """Ids: three quarters go to one person of each hundred, the others to the last thousand."""
    newest = _last_person(number)
    hot = draws.below(4) > 0
    active = np.minimum(newest + 1, 1000)
    some = newest + 1 - active + draws.below(active + _LEAD, ~hot)
    return _ID_FIRST + np.where(hot, newest // _HOT_EVERY * _HOT_EVERY + hot_offset, some)


def _extras(draws: Draws, shared: Tables, sizes: Sequence[int], average: int) -> list[str]:
    """Letters that bring records of `sizes` bytes to `average` bytes, more or less a fifth of what is missing."""
    want = average - np.array(sizes, np.int64)
    short = want >= 0
    spread = np.where(short, (2 * want + 5) // 10, 0)
    more = draws.below(np.maximum(2 * spread, 1), spread > 0)
    length = np.where(short, want - spread + np.where(spread > 0, more, 0), 0)
    start = draws.below(_POOL_LETTERS - length, short)
    return [shared.pool[s : s + n] for s, n in zip(start.tolist(), length.tolist(), strict=True)]


def _url(draws: Iterator[int]) -> str:
    folders = "/".join(_folder(draws) for _ in range(3))
    return f"https://www.nexmark.com/{folders}/item.htm?query=1"


def _folder(draws: Iterator[int]) -> str:
    letters = [next(draws) for _ in range(3 + next(draws) % 2)]
    return "".join("_" if r % 13 == 0 else chr(ord("a") + (r >> 8) % 26) for r in letters)


def _bits_reversed(number: int) -> int:
    """Size of the signed 32-bit number whose bits are those of `number` in reverse."""
    reverse = int(f"{number:032b}"[::-1], 2)
    return min(reverse, (1 << 32) - reverse) if reverse >> 31 else reverse
