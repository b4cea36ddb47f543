"""The assignor: everything has one owner, shares are even, and little moves."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamflow.workers.assign import (
    UNKNOWN,
    Claim,
    Partitions,
    Standbys,
    assign,
    dump_standbys,
    load_standbys,
    place_standbys,
)

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


def test_one_more_than_the_share_goes_to_who_has_the_state_of_what_is_free() -> None:
    held = {m: Claim(generation=1, partitions={"t": (p,)}) for p, m in enumerate("abc")}
    many = replace(held["a"], copies={"t": (1, 2)})  # states, but none that is asked for
    heir = replace(held["c"], behind={"t": {3: 7}})
    assert assign({"t": 4}, {**held, "a": many, "c": heir})["c"] == {"t": [2, 3]}


def test_a_member_gives_away_what_the_one_that_comes_has_the_state_of() -> None:
    first = Claim(generation=1, partitions={"t": (0, 1, 2)}, copies={"t": (0, 1, 2, 3, 4, 5)})
    second = Claim(generation=1, partitions={"t": (3, 4, 5)}, copies={"t": (0, 1, 2, 3, 4, 5)})
    back = Claim(copies={"t": (2, 4)})  # of everything there is another copy; of these two it is here
    assert assign({"t": 6}, {"a": first, "b": second, "c": back})["c"] == {"t": [2, 4]}


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


def test_what_must_move_goes_to_the_standby_that_is_least_behind() -> None:
    far, near = Claim(behind={"t": {0: 900, 1: 5}}), Claim(behind={"t": {0: 20, 1: 6}})
    assert assign({"t": 2}, {"a": far, "b": near}) == {"a": {"t": [1]}, "b": {"t": [0]}}
    # A disk of unknown age comes after any standby, and before nothing at all.
    old = Claim(copies={"t": (0, 1)})
    assert assign({"t": 2}, {"a": old, "b": Claim(behind={"t": {0: 10**9}})}) == {"a": {"t": [1]}, "b": {"t": [0]}}
    assert assign({"t": 1}, {"a": Claim(), "b": old}) == {"a": {}, "b": {"t": [0]}}


def test_claims_say_how_far_standbys_are() -> None:
    claim = Claim(generation=7, partitions={"t": (1,)}, behind={"t": {3: 0, 4: 17}})
    assert Claim.load(claim.dump()) == claim
    assert Claim.load(b'{"b": {"t": [1]}}') == Claim()


@given(TOPICS, NAMES, NAMES, st.integers(0, 3), st.data())
def test_standbys_are_others_as_many_as_wanted_and_spread(
    topics: dict[str, int], old: list[str], new: list[str], count: int, data: st.DataObject
) -> None:
    lags = st.dictionaries(st.integers(0, 20), st.integers(0, 99), max_size=5).map(lambda behind: {"a": behind})
    members = claims(assign(topics, dict.fromkeys(old, Claim())), 1, new)
    members = {m: replace(claim, behind=data.draw(lags)) for m, claim in members.items()}
    owned = assign(topics, members)
    placed = place_standbys(topics, owned, members, count)
    for topic, partitions in topics.items():
        for p in range(partitions):
            numbers = [placed[m][topic][p] for m in new if p in placed[m].get(topic, {})]
            assert sorted(numbers) == list(range(min(count, len(new) - 1)))
            assert not any(p in owned[m].get(topic, ()) and p in placed[m].get(topic, {}) for m in new)
    for note in (placed[m] for m in new):
        assert load_standbys(dump_standbys(note)) == note


def placed_one_by_one(
    topics: dict[str, int], given: dict[str, Partitions], members: dict[str, Claim], count: int
) -> dict[str, Standbys]:
    """What `place_standbys` says, by looking at every member for every standby."""
    placed: dict[str, Standbys] = {member: {} for member in members}
    total = dict.fromkeys(members, 0)
    for topic in sorted(topics):
        share = -(-topics[topic] * min(count, len(members) - 1) // len(members))
        here = dict.fromkeys(members, 0)
        for number in range(count):
            for p in range(topics[topic]):
                free = [m for m in members if p not in given[m].get(topic, ()) and p not in placed[m].get(topic, {})]
                ranks = {
                    m: (here[m] >= share, members[m].has_state(topic).get(p, UNKNOWN + 1), here[m], total[m], m)
                    for m in free
                }
                if ranks:
                    best = min(ranks, key=lambda m: ranks[m])
                    placed[best].setdefault(topic, {})[p] = number
                    here[best] += 1
                    total[best] += 1
    return placed


@given(TOPICS, NAMES, NAMES, st.integers(0, 3), st.data())
def test_standbys_are_those_of_a_look_at_every_member(
    topics: dict[str, int], old: list[str], new: list[str], count: int, data: st.DataObject
) -> None:
    lags = st.dictionaries(st.integers(0, 20), st.integers(0, 3), max_size=8).map(lambda behind: {"a": behind})
    some = st.lists(st.integers(0, 20), max_size=8).map(lambda partitions: {"b": tuple(partitions)})
    members = claims(assign(topics, dict.fromkeys(old, Claim())), 1, new)
    members = {m: replace(c, behind=data.draw(lags), copies=data.draw(some)) for m, c in members.items()}
    owned = assign(topics, members)
    assert place_standbys(topics, owned, members, count) == placed_one_by_one(topics, owned, members, count)


@given(st.integers(1, 40), NAMES, st.integers(1, 3))
def test_standbys_stay_where_they_are(count: int, names: list[str], standbys: int) -> None:
    owned = assign({"t": count}, dict.fromkeys(names, Claim()))
    first = place_standbys({"t": count}, owned, dict.fromkeys(names, Claim()), standbys)
    held = claims(owned, 1, names)
    again = {m: replace(c, behind={t: dict.fromkeys(ps, 0) for t, ps in first[m].items()}) for m, c in held.items()}
    second = place_standbys({"t": count}, assign({"t": count}, again), again, standbys)
    assert {m: {t: set(ps) for t, ps in s.items()} for m, s in second.items()} == {
        m: {t: set(ps) for t, ps in s.items()} for m, s in first.items()
    }


def test_when_an_owner_goes_its_tasks_begin_where_a_standby_is() -> None:
    names = ["a", "b", "c"]
    owned = assign({"t": 6}, dict.fromkeys(names, Claim()))
    placed = place_standbys({"t": 6}, owned, dict.fromkeys(names, Claim()), 1)
    left = {m: replace(c, behind={t: dict.fromkeys(ps, 3) for t, ps in placed[m].items()})
            for m, c in claims(owned, 1, names[1:]).items()}  # fmt: skip
    then = assign({"t": 6}, left)
    for p in owned["a"]["t"]:
        (heir,) = (m for m in names[1:] if p in then[m]["t"])
        assert p in placed[heir]["t"]


def test_a_note_of_another_version_places_nothing() -> None:
    for note in (b"", b"\x00", b"[]", b'{"t": 1}', b'{"t": [1]}'):
        assert load_standbys(note) == {}
