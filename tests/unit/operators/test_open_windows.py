"""Open windows in blocks against a dict, whatever happens to the store between steps."""

from __future__ import annotations

import numpy as np
import polars as pl
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.codecs.rows import RowCodec
from streamflow.model.types import LONG, STRING, Type, array_of, record_of
from streamflow.operators.folds import Fold
from streamflow.operators.open_windows import BLOCK_BYTES_MAX, OpenWindows
from streamflow.operators.window_blocks import compact
from streamflow.operators.window_rows import Folds, Keys
from streamflow.sdk.errors import CodecError
from streamflow.state.memory import MemoryStore

COUNT = Fold(field="n", name="count", column=None, of=None, type=LONG)
FOLDS = Folds(Keys({"@:k0": ("k", STRING), "@:k1": ("by", LONG.optional())}), (COUNT,))
Group = tuple[int, str, int | None]  # end of the window, key, the group within it
GROUPS = st.tuples(st.integers(1, 4), st.sampled_from("abc"), st.none() | st.integers(1, 2))
OPERATIONS = st.one_of(
    st.tuples(st.just("step"), st.lists(GROUPS, min_size=1, max_size=8, unique=True)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("abort")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("close"), st.integers(1, 4)),
)


def step(windows: OpenWindows, store: MemoryStore, groups: list[Group]) -> dict[Group, int]:
    """Add one row to each group; what each had before."""
    keys = {"@:k0": [k for _, k, _ in groups], "@:k1": [by for *_, by in groups]}
    frame = pl.DataFrame(keys, schema={"@:k0": pl.String, "@:k1": pl.Int64})
    found = windows.find(store, np.array([end for end, *_ in groups], np.int64), frame)
    before = {} if found is None else {
        groups[i]: n for i, n in zip(found.which.tolist(), found.states["n"].to_list(), strict=True)
    }  # fmt: skip
    now = pl.Series("n", [before.get(g, 0) + 1 for g in groups], dtype=pl.Int64)
    keyed = frame.rename({"@:k0": "k0", "@:k1": "k1"})
    windows.keep(store, keyed.with_columns(now.alias("f0n"), now.alias("ts"), now))
    return before


def closed(windows: OpenWindows, store: MemoryStore, end: int) -> list[tuple[Group, int]]:
    done = windows.close(store, end)
    if done is None:
        return []
    ends, states = done
    rows = zip(ends.tolist(), states["k0"].to_list(), states["k1"].to_list(), states["n"].to_list(), strict=True)
    return [((e, k, by), n) for e, k, by, n in rows]


@settings(max_examples=150)
@given(operations=st.lists(OPERATIONS, max_size=25), bound=st.sampled_from([0, 1_000, 1 << 20]))
def test_memory_follows_the_store_whatever_happens_to_it(operations: list[tuple[object, ...]], bound: int) -> None:
    """Method: steps, commits, aborts, restarts from the changelog and closing windows in any order, with a bound that
    drops everything, something or nothing from memory; each step must find what a dict holds.
    """
    store, windows = MemoryStore(), OpenWindows(FOLDS, size_bytes_max=bound)
    changelog: list[tuple[bytes, bytes | None]] = []
    committed: dict[Group, int] = {}
    now: dict[Group, int] = {}
    for operation in operations:
        match operation:
            case ("step", list(groups)):
                assert step(windows, store, groups) == {g: now[g] for g in groups if g in now}
                now |= {g: now.get(g, 0) + 1 for g in groups}
            case ("commit",):
                changelog += store.changes()
                store.commit(len(changelog))
                committed = dict(now)
            case ("abort",):
                store.abort()
                now = dict(committed)
            case ("restart",):
                store, windows = MemoryStore(), OpenWindows(FOLDS, size_bytes_max=bound)
                store.restore(changelog, len(changelog))
                now = dict(committed)
            case ("close", int(end)):
                over = {g: n for g, n in now.items() if g[0] <= end}
                assert closed(windows, store, end) == sorted(over.items(), key=lambda one: _named(one[0]))
                now = {g: n for g, n in now.items() if g not in over}
        assert _states(store) <= 2 * len(now)
    assert closed(windows, store, 9) == sorted(now.items(), key=lambda one: _named(one[0]))
    assert list(store.scan()) == []


def test_a_step_that_fails_half_way_leaves_nothing_in_memory() -> None:
    store, windows = MemoryStore(), OpenWindows(FOLDS)
    step(windows, store, [(1, "a", None)])
    frame = pl.DataFrame({"@:k0": ["a"], "@:k1": pl.Series([None], dtype=pl.Int64)})
    assert windows.find(store, np.array([1]), frame) is not None
    # Nothing is kept: as if the fold between had raised.
    assert step(windows, store, [(1, "a", None)]) == {(1, "a", None): 1}


def test_a_restored_window_takes_the_last_of_several_states() -> None:
    store = MemoryStore()
    groups: list[Group] = [(5, "a", 1), (5, "b", 1), (5, "c", 1)]
    windows = OpenWindows(FOLDS)
    step(windows, store, groups)
    step(windows, store, groups[1:2])
    assert [len(value) > 4 for _, value in store.scan()] == [True, True]  # two blocks
    assert closed(OpenWindows(FOLDS), store, 5) == [(groups[0], 1), (groups[1], 2), (groups[2], 1)]


@pytest.mark.parametrize(
    "of", [LONG, STRING.optional(), array_of(STRING), Type(kind="union", branches=(LONG, STRING))], ids=str
)
def test_blocks_hold_rows_of_every_kind(of: Type) -> None:
    values: dict[str, list[object]] = {
        "long": [1, -(2**62), 0],
        "string": ["a", None, "é" * 300],
        "array": [["a"], [], ["b", "c"]],
        "union": [{"long": 1, "string": None}, {"long": None, "string": "x"}, {"long": 7, "string": None}],
    }
    codec = RowCodec(record_of({"k": STRING, "v": of}))
    frame = codec.decode(codec.encode(pl.DataFrame({"k": ["x", "y", "z"], "v": values[of.kind]})))
    blocks = codec.encode_blocks(frame, [2, 1])
    decoded, counts = codec.decode_blocks(blocks)
    assert counts == [2, 1]
    assert decoded.equals(frame)


def test_a_block_that_was_cut_is_refused() -> None:
    codec = RowCodec(record_of({"k": STRING}))
    block = codec.encode_blocks(pl.DataFrame({"k": ["abc", "def"]}), [2])[0]
    with pytest.raises(CodecError, match="block"):
        codec.decode_blocks([block[:-2]])


def _states(store: MemoryStore) -> int:
    return sum(int.from_bytes(value[:4], "big") for _, value in store.scan())


def _named(group: Group) -> tuple[object, ...]:
    """Windows by their end, and groups by their names: framed by their sizes, null last."""
    end, key, by = group
    return end, key, by is None, by or 0


@pytest.mark.parametrize("bound", [0, 1 << 20])
def test_memory_is_counted_down_to_nothing_when_windows_close(bound: int) -> None:
    store, windows = MemoryStore(), OpenWindows(FOLDS, size_bytes_max=bound)
    for n in range(30):
        step(windows, store, [(1 + n % 3, "a", None), (1 + n % 5, f"b{n}", 1)])
    assert windows.size_bytes > 0
    windows.close(store, 3)
    windows.drop(store, 9)
    assert windows.size_bytes == 0


def test_a_few_groups_do_not_hold_on_to_the_texts_of_all() -> None:
    """Method: two rows of each of 20 frames of 8 MB are kept; the process must not grow by all of them."""
    text = pl.format("{}-" + "x" * 120, pl.int_range(60_000))
    kept, before = [], psutil.Process().memory_info().rss
    for _ in range(20):
        rows = pl.select(k=text, l=pl.concat_list(text))[[1, 500]]
        kept.append(compact(rows))
        assert kept[-1].equals(rows)
    assert psutil.Process().memory_info().rss - before < 80 << 20


def test_a_window_of_many_groups_is_kept_in_entries_that_fit_a_record() -> None:
    store, windows = MemoryStore(), OpenWindows(FOLDS)
    groups: list[Group] = [(1, f"{n:0>60}", None) for n in range(20_000)]
    for times in range(3):
        assert len(step(windows, store, groups)) == (20_000 if times else 0)
        assert max(len(value) for _, value in store.scan()) <= BLOCK_BYTES_MAX
    assert _states(store) <= 40_000
    assert step(OpenWindows(FOLDS), store, groups[-3:]) == dict.fromkeys(groups[-3:], 3)


def test_large_states_that_stand_together_are_cut_from_each_other() -> None:
    store, windows = MemoryStore(), OpenWindows(FOLDS)
    groups: list[Group] = [(1, f"{n:0>{200_000 if n < 9 else 4}}", None) for n in range(4_000)]
    step(windows, store, groups)
    assert max(len(value) for _, value in store.scan()) <= BLOCK_BYTES_MAX
    assert [g for g, _ in closed(OpenWindows(FOLDS), store, 1)] == sorted(groups, key=_framed)


def _framed(group: Group) -> tuple[int, str]:
    return len(group[1]), group[1]
