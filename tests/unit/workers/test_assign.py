"""The assignor: everything has one owner, shares are even, and little moves."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamflow.workers.assign import Claim, Partitions, assign

TOPICS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 17), min_size=1)
NAMES = st.lists(st.sampled_from([f"m{i}" for i in range(9)]), min_size=1, unique=True)


def claims(given: dict[str, Partitions], generation: int, members: list[str]) -> dict[str, Claim]:
    held = {m: {t: tuple(ps) for t, ps in given.get(m, {}).items()} for m in members}
    return {m: Claim(generation=generation if held[m] else -1, partitions=held[m]) for m in members}


def moved(before: dict[str, Partitions], after: dict[str, Partitions]) -> int:
    """Partitions that a member who stays has lost."""
    return sum(
        len(set(ps) - set(after[m].get(t, ())))
        for m, topics in before.items()
        if m in after
        for t, ps in topics.items()
    )


def check(topics: dict[str, int], result: dict[str, Partitions]) -> None:
    for topic, count in topics.items():
        owned = sorted(p for given in result.values() for p in given.get(topic, []))
        assert owned == list(range(count))
        shares = [len(given.get(topic, [])) for given in result.values()]
        assert max(shares) - min(shares) <= 1
    totals = [sum(map(len, given.values())) for given in result.values()]
    assert max(totals) - min(totals) <= 1


@given(TOPICS, NAMES, NAMES)
def test_everything_has_one_owner_and_shares_are_even(topics: dict[str, int], old: list[str], new: list[str]) -> None:
    first = assign(topics, dict.fromkeys(old, Claim()))
    check(topics, first)
    second = assign(topics, claims(first, 1, new))
    check(topics, second)


@given(TOPICS, NAMES)
def test_nothing_moves_when_nothing_changed(topics: dict[str, int], names: list[str]) -> None:
    first = assign(topics, dict.fromkeys(names, Claim()))
    assert assign(topics, claims(first, 1, names)) == first


@given(st.integers(1, 40), NAMES)
def test_a_member_that_joins_takes_only_its_share(count: int, names: list[str]) -> None:
    first = assign({"t": count}, dict.fromkeys(names, Claim()))
    second = assign({"t": count}, claims(first, 1, [*names, "new"]))
    assert moved(first, second) == len(second["new"].get("t", []))


@given(st.integers(1, 40), st.lists(st.sampled_from([f"m{i}" for i in range(9)]), min_size=2, unique=True))
def test_what_a_member_leaves_moves_and_nothing_else(count: int, names: list[str]) -> None:
    first = assign({"t": count}, dict.fromkeys(names, Claim()))
    second = assign({"t": count}, claims(first, 1, names[1:]))
    assert moved(first, second) == 0


@given(st.integers(1, 17), NAMES, NAMES, st.data())
def test_copies_change_who_gets_what_and_not_how_much_moves(
    count: int, old: list[str], new: list[str], data: st.DataObject
) -> None:
    held = claims(assign({"t": count}, dict.fromkeys(old, Claim())), 1, new)
    some = st.lists(st.integers(0, 20), max_size=5).map(lambda partitions: {"t": tuple(partitions)})
    without = assign({"t": count}, held)
    found = assign({"t": count}, {m: replace(claim, copies=data.draw(some)) for m, claim in held.items()})
    check({"t": count}, found)
    first = {m: {t: list(ps) for t, ps in claim.partitions.items()} for m, claim in held.items()}
    assert moved(first, found) == moved(first, without)


def test_a_task_goes_back_to_the_disk_that_its_state_is_on() -> None:
    everything = Claim(generation=5, partitions={"t": (0, 1, 2, 3)}, copies={"t": (0, 1, 2, 3)})
    back = Claim(copies={"t": (0, 2)})
    assert assign({"t": 4}, {"a": everything, "b": back}) == {"a": {"t": [1, 3]}, "b": {"t": [0, 2]}}
    assert assign({"t": 4}, {"a": Claim(), "b": back, "c": Claim()})["b"]["t"] == [0, 2]
    assert assign({"t": 2}, {"a": Claim(copies={"t": (1,)}), "b": Claim()}) == {"a": {"t": [1]}, "b": {"t": [0]}}


def test_of_two_claims_the_later_generation_holds() -> None:
    stale = Claim(generation=3, partitions={"t": (0, 1)})
    fresh = Claim(generation=4, partitions={"t": (0, 1)})
    assert assign({"t": 2}, {"a": stale, "b": fresh, "c": Claim()})["b"] == {"t": [0]}
    assert assign({"t": 4}, {"a": stale, "b": fresh})["b"] == {"t": [0, 1]}


def test_user_data_that_cannot_be_read_claims_nothing() -> None:
    claim = Claim(generation=7, partitions={"t": (1, 2)}, copies={"t": (3,)})
    assert Claim.load(claim.dump()) == claim
    for data in (None, b"", b"\x00", b"[]", b'{"p": 3}', b'{"g": "x"}', b'{"p": {"t": 1}}'):
        assert Claim.load(data) == Claim()
