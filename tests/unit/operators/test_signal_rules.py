"""Repeats of signals that were in vain, and state of versions that did not keep an early signal's id."""

from __future__ import annotations

import dataclasses

from streamflow.operators.signal_lists import ANYONE, ITEM, KNOWN, SIGNAL, Kept, SignalLists, without
from streamflow.operators.signal_rules import Came, Done, Rules, settle
from streamflow.operators.waiting import framed
from streamflow.state.memory import MemoryStore

ID, OTHER = b"i" * 16, b"o" * 16
RULES = Rules(
    answers_all=True, keep_early_ms=20, keep_early_max=1, repeats_ms=100, repeats_max=3, waiting_max=5, field="signal",
    payload=None, fails_late=False,
)  # fmt: skip


def told(kept: list[Kept], id: bytes, rules: Rules = RULES) -> Done:
    """One signal comes, at 0 ms."""
    heard = Came(
        keys=[b"k"], due=[rules.keep_early_ms], who=[ANYONE], rows=[0], payloads=[b"1"], ids=[id],
        known_until_ms=rules.repeats_ms,
    )  # fmt: skip
    return settle(Came(), heard, {b"k": kept}, rules)


def kinds(kept: list[Kept]) -> bytes:
    return b"".join(one.kind for one in kept)


def test_a_signal_that_was_unclaimed_at_once_is_not_known() -> None:
    kept: list[Kept] = []
    nothing = dataclasses.replace(RULES, keep_early_max=0)
    assert told(kept, ID, nothing).unclaimed == [0]
    assert kept == []
    kept.append(Kept(ITEM, 50, OTHER, b""))
    assert len(told(kept, ID, nothing).answers) == 1
    assert kinds(kept) == KNOWN
    assert told(kept, ID, nothing).heard == 1  # now it is a repeat


def test_the_id_of_an_early_signal_goes_with_it_when_it_was_in_vain() -> None:
    kept: list[Kept] = []
    told(kept, ID)
    assert kinds(kept) == KNOWN + SIGNAL
    assert told(kept, ID).heard == 1
    assert without(kept, kept[1:]) == []


def test_what_another_signal_made_known_of_the_same_id_stays() -> None:
    kept: list[Kept] = []
    told(kept, ID)
    early = kept[1]
    del kept[0]  # it is known no longer, by time or number
    kept.append(Kept(ITEM, 50, OTHER, b""))
    told(kept, ID)
    assert kinds(kept) == SIGNAL + KNOWN
    assert kinds(without(kept, [early])) == KNOWN


def test_state_holds_the_id_and_state_without_it_is_read() -> None:
    store, lists = MemoryStore(), SignalLists()
    named, bare = Kept(SIGNAL, 20, ANYONE, b"", id=ID), Kept(SIGNAL, 30, ANYONE, b"")
    lists.keep(store, {b"k": set()}, {b"k": [(named, b"one"), (bare, b"two")]})
    found = lists.load(store, [b"k"])[b"k"]
    assert [(one.kind, one.due_ms, one.who, one.data, one.id) for one in found] == [
        (SIGNAL, 20, ANYONE, b"one", ID), (SIGNAL, 30, ANYONE, b"two", b""),
    ]  # fmt: skip
    store.put(b"kold", framed(b"s" + (30).to_bytes(8, "big") + ANYONE + b"two"))  # as earlier versions wrote it
    (old,) = lists.load(store, [b"old"])[b"old"]
    assert (old.kind, old.due_ms, old.data, old.id) == (SIGNAL, 30, b"two", b"")
