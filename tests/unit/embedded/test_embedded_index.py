"""The sparse index never points behind what is looked for, and notices damage."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streamflow.logs.embedded.index import Index, read_index

Batches = list[tuple[int, int, int]]  # offsets in it, size, greatest time


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(61, 100_000), st.integers(0, 50)), min_size=1, max_size=40))
def test_positions_are_at_or_before_what_is_looked_for(batches: Batches) -> None:
    index = Index()
    placed = []
    base = position = 0
    for count, size, time in batches:
        index.add(base, position, time)
        placed.append((base, base + count - 1, position, time))
        base, position = base + count, position + size
    for offset in range(base):
        true = next(p for b, last, p, _ in placed if last >= offset)
        found = index.position_of(offset)
        assert found <= true
        assert found in [p for _, _, p, _ in placed]
    for time in range(52):
        true_or_none = next((p for _, _, p, t in placed if t >= time), None)
        if true_or_none is not None:
            assert index.position_of_time(time) <= true_or_none


def test_an_index_is_read_back_and_refused_when_damaged(tmp_path: Path) -> None:
    index = Index()
    for n in range(20):
        index.add(n * 10, n * 70_000, n)
    path = tmp_path / "x.index"
    path.write_bytes(index.encode())
    again = read_index(path)
    assert again is not None
    assert (again.bases, again.positions, again.times) == (index.bases, index.positions, index.times)
    for at in range(0, len(index.encode()), 7):
        data = bytearray(index.encode())
        data[at] ^= 4
        path.write_bytes(data)
        assert read_index(path) is None
    assert read_index(tmp_path / "missing") is None


def test_cutting_forgets_what_an_interrupted_checkpoint_left() -> None:
    index, short = Index(), Index()
    for n in range(20):
        index.add(n * 10, n * 70_000, n)
        if n < 8:
            short.add(n * 10, n * 70_000, n)
    index.cut(8 * 70_000, 7)
    assert index.encode() == short.encode()
