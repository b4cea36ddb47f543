"""Whom a signal answers: the rules of a wait for signals, row by row, over what is kept of a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import merge

from streamflow.model.batch import Batch
from streamflow.model.types import Schema
from streamflow.operators.signal_lists import ANYONE, ITEM, KNOWN, SIGNAL, Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a wait node says; see its parameters."""

    answers_all: bool
    keep_early_ms: int
    keep_early_max: int
    repeats_ms: int
    repeats_max: int
    waiting_max: int
    field: str
    payload: Schema | None  # of signals; None: untyped
    fails_late: bool  # nothing is connected to port `timeout`


@dataclass(slots=True)
class Came:
    """Rows of one port of a step, as far as keys and times go. `payloads`: of signals."""

    batch: Batch | None = None
    keys: list[bytes] = field(default_factory=list)
    due: list[int] = field(default_factory=list)
    who: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # `@row`
    wm: list[int] | None = None
    payloads: list[bytes] = field(default_factory=list)
    ids: list[bytes | None] = field(default_factory=list)  # of signals
    known_until_ms: int = 0  # how long ids of this step are known


@dataclass(slots=True)
class Answer:
    """An item goes on: at row `position` of the step, with watermark `wm`. `payload`: None where the signal was early,
    in an earlier step; then it is in `signal`.
    """

    item: Kept
    position: int
    wm: int | None
    payload: bytes | None
    signal: Kept | None = None


@dataclass(slots=True)
class Done:
    """What became of the rows of a step."""

    answers: list[Answer] = field(default_factory=list)
    heard: int = 0  # signals that answered something at once, or were repeats
    absorbed: int = 0
    emitted: int = 0
    unclaimed: list[int] = field(default_factory=list)  # rows of port `signals`
    refused: list[int] = field(default_factory=list)  # rows of port `in`


def settle(items: Came, heard: Came, lists: Mapping[bytes, list[Kept]], rules: Rules) -> Done:
    """Items and signals in the order in which they arrived. `lists`: what is kept of each key, which changes."""
    done = Done()
    arrived = merge(
        ((row, False, i) for i, row in enumerate(items.rows)), ((row, True, i) for i, row in enumerate(heard.rows))
    )
    for _, is_signal, at in arrived:
        if is_signal:
            _tell(heard, at, lists[heard.keys[at]], rules, done)
        else:
            _take(items, heard, at, lists[items.keys[at]], rules, done)
    return done


def _take(items: Came, heard: Came, at: int, kept: list[Kept], rules: Rules, done: Done) -> None:
    """An item comes: the first early signal that is for it answers it; else it waits."""
    item = Kept(ITEM, items.due[at], items.who[at], b"", at)
    for signal in kept:
        if signal.kind == SIGNAL and signal.who in (ANYONE, item.who):
            kept.remove(signal)
            payload = heard.payloads[signal.row] if signal.row >= 0 else None
            wm = None if items.wm is None else items.wm[at]
            done.answers.append(Answer(item, items.rows[at], wm, payload, signal))
            return
    if sum(one.kind == ITEM for one in kept) >= rules.waiting_max:
        done.refused.append(at)
        return
    kept.append(item)
    done.absorbed += 1


def _tell(heard: Came, at: int, kept: list[Kept], rules: Rules, done: Done) -> None:
    """A signal comes: it answers what waits for it; else it is kept. A repeat does nothing, and is one only of a signal
    that answered or may yet: of one that was in vain, the next of its id takes the place.
    """
    given, meant = heard.ids[at], heard.who[at]
    if given is not None and any(one.kind == KNOWN and one.who == given for one in kept):
        done.heard += 1
        return
    answered = [one for one in kept if one.kind == ITEM and meant in (ANYONE, one.who)]
    if answered:
        answered = answered if rules.answers_all else answered[:1]
        gone = {id(one) for one in answered}
        kept[:] = [one for one in kept if id(one) not in gone]
        _remember(heard, at, kept, rules)
        wm = None if heard.wm is None else heard.wm[at]
        done.answers += [Answer(one, heard.rows[at], wm, heard.payloads[at]) for one in answered]
        done.emitted += len(answered)
        done.heard += 1
    elif sum(one.kind == SIGNAL for one in kept) >= rules.keep_early_max:
        done.unclaimed.append(at)
    else:
        _remember(heard, at, kept, rules)  # before it, see `signal_lists.without`
        kept.append(Kept(SIGNAL, heard.due[at], meant, b"", at, given or b""))
        done.absorbed += 1


def _remember(heard: Came, at: int, kept: list[Kept], rules: Rules) -> None:
    """The id of a signal that counts is known from here on."""
    given = heard.ids[at]
    if given is None:
        return
    known = [one for one in kept if one.kind == KNOWN]
    if len(known) >= rules.repeats_max:
        kept.remove(known[0])  # the oldest
    kept.append(Kept(KNOWN, heard.known_until_ms, given, b""))
