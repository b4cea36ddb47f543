"""What a task remembers of branches that have lost."""

from __future__ import annotations

from random import Random

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


def test_what_is_equal_is_held_once_and_no_longer_than_it_is_used() -> None:
    """Millions of executions lose at the same merge: each of them brings texts of its own from its record."""
    known = LostBranches()
    for n in range(1_000):
        nodes = frozenset([f"{name}" for name in ("slow", "done")])
        known.add(f"x{n}", "".join(["fi", "rst"]), Lost("".join(["another ", "was first"]), n, nodes))
    held = list(known.by_execution.values())
    for name in ("text", "nodes", "merge"):
        assert len({id(getattr(lost, name)) for lost in held}) == 1, name
    for n in range(1_000):
        known.over(f"x{n}", "first")
    assert not any((list(known._places), list(known._words), known._several, known.by_execution, known.fresh))


def test_races_of_an_execution_come_and_go_in_any_order() -> None:
    """Beside a plain model: a dictionary of dictionaries."""
    random, known, model = Random(5), LostBranches(), dict[str, dict[str, Lost]]()
    for at_ms in range(3_000):
        execution, merge = random.choice("xyz"), random.choice(["one", "two", "three"])
        if random.random() < 0.5:
            said = Lost(f"by {merge}", at_ms, random.choice([A, B, A | B]))
            known.add(execution, merge, said)
            model[execution] = model.pop(execution, {}) | {merge: said}
        else:
            known.over(execution, merge)
            model.get(execution, {}).pop(merge, None)
            model = {name: own for name, own in model.items() if own}
        assert list(known.by_execution) == list(model)
        for name, own in model.items():
            assert known.by_execution[name].nodes == frozenset().union(*(lost.nodes for lost in own.values()))
            assert known.by_execution[name].at_ms == max(lost.at_ms for lost in own.values())
            assert known.by_execution[name].text == "; ".join(lost.text for lost in own.values())
        assert known.nodes == frozenset().union(*(lost.nodes for own in model.values() for lost in own.values()))
