"""What a task remembers of branches that have lost."""

from __future__ import annotations

from streamflow.operators import lost_branches
from streamflow.operators.lost_branches import Lost, LostBranches

A, B = frozenset({"a", "shared"}), frozenset({"b", "shared"})


def lost(nodes: frozenset[str], at_ms: int = 0) -> Lost:
    return Lost("another was first", at_ms, nodes)


def test_two_merges_of_one_execution_hold_together_until_each_is_over() -> None:
    known = LostBranches()
    known.add("x", "one", lost(A))
    known.add("x", "two", lost(B))
    assert known.by_execution["x"].nodes == A | B
    known.over("x", "one")
    assert known.by_execution["x"].nodes == B
    assert known.nodes == B
    known.over("x", "one")  # told twice, or never told of
    known.over("y", "one")
    known.over("x", "two")
    assert not known
    assert (known.by_execution, known.fresh, known.nodes) == ({}, {}, frozenset())


def test_nodes_are_those_of_all_that_is_open() -> None:
    known = LostBranches()
    for name in ("x", "y"):
        known.add(name, "one", lost(A))
    known.add("z", "two", lost(B))
    known.over("x", "one")
    assert known.nodes == A | B
    known.over("y", "one")
    assert known.nodes == B


def test_what_is_fresh_is_handed_out_once() -> None:
    known = LostBranches()
    known.add("x", "one", lost(A))
    known.add("y", "one", lost(A))
    known.over("y", "one")  # before anyone has heard of it
    assert dict(known.take_fresh()) == {"x": lost(A)}
    assert not known.take_fresh()


def test_the_oldest_are_forgotten(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(lost_branches, "OPEN_MAX", 2)
    known = LostBranches()
    for at_ms, name in enumerate("xyz"):
        known.add(name, "one", lost(A, at_ms))
    assert list(known.by_execution) == ["y", "z"]
    known.age(2)
    assert list(known.by_execution) == ["z"]
    known.age(3)
    assert not known
    assert known.nodes == frozenset()
