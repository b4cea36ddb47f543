"""Rows into sessions, as frames: what is near each other in time becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.operators.window_rows import Folds

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# A session is a row of state with the number of its group, its first time, and the row of the step that it took last.
GROUP, START, LAST, AT = "@:g", "start", "ts", "@:at"
UNTOUCHED: Final = -1
_TIME_MIN: Final = -(2**62)  # waits can be taken from it and fit 64 bits


@dataclass(frozen=True, slots=True)
class Gap:
    """Two rows of a group at most `gap_ms` apart are in one session, which takes rows for `grace_ms` longer."""

    gap_ms: int
    grace_ms: int = 0

    @property
    def waits_ms(self) -> int:
        """How far time must have passed a session's last row for it to be closed; beyond, not up to it."""
        return self.gap_ms + self.grace_ms


@dataclass(slots=True)
class Grown:
    """`sessions`: all of them now. `missed`: rows that came too late. `given`: what each other row made of its session,
    and `gone`: sessions that it replaced; both None where nobody asked.
    """

    sessions: pl.DataFrame
    missed: Bools
    given: pl.DataFrame | None = None
    gone: pl.DataFrame | None = None


def grow(folds: Folds, rule: Gap, sessions: pl.DataFrame, rows: pl.DataFrame, wm: Int64s, *, each: bool) -> Grown:
    """Put `rows`, states of one row each, into sessions. `wm`: their watermarks.

    Several rows of one group must be such that it makes no difference when time closes sessions (see `together`).
    """
    closed, known = _closed(sessions, rows, wm, rule)
    rest = sessions.filter(pl.Series(~known | closed))
    # Arrival decides the order inside a session; sessions that were there come first, by time.
    old = sessions.filter(pl.Series(known & ~closed)).sort([GROUP, START])
    states = pl.concat([old, rows])
    cluster = _clusters(states, rule.gap_ms)
    count = int(cluster.max()) + 1
    whose = pl.Series(cluster, dtype=pl.UInt32)
    edges = pl.DataFrame({"c": whose, START: states[START], GROUP: states[GROUP], AT: states[AT]})
    edges = edges.group_by("c").agg(pl.col(START).min(), pl.col(GROUP).first(), pl.col(AT).max()).sort("c").drop("c")
    made = folds.combined(states, whose, count).with_columns(edges).select(sessions.columns)
    of_row = cluster[old.height :]
    # The session that a row would make or join is closed already. It is alone there: what has closed takes no part.
    missed: Bools = made[LAST].to_numpy()[of_row] < np.maximum(wm, _TIME_MIN) - rule.waits_ms
    dropped = np.zeros(count, np.bool_)
    dropped[of_row[missed]] = True
    grown = Grown(pl.concat([rest, made.filter(pl.Series(~dropped))]), missed)
    if each:
        grown.given, grown.gone = _each(folds, states, whose, old.height, dropped)
    return grown


def together(rule: Gap, sessions: pl.DataFrame, rows: pl.DataFrame, wm: Int64s, *, each: bool) -> Int64s:
    """Which rows may go together: all of layer 0 first, then those of layer 1, and so on.

    Rows and sessions that are near each other in time are a cluster, whatever order they come in. Where none of its
    pieces could have closed before the last of its rows came, the cluster is one session in the end. And where its rows
    come in the order of time, behind the sessions that were there, no row joins two: what each of them makes of the
    session (`each`), and how sums of doubles add up, is then as if they had come one by one.

    Other rows go in the order in which they come to their group, those together between which time stands still:
    nothing closes there, and if none is late by itself, the open sessions that they make are the same in any order.
    """
    states = pl.concat([sessions, rows])
    cluster = _clusters(states, rule.gap_ms)
    of_row, count = cluster[sessions.height :], int(cluster.max()) + 1
    earliest, latest = np.full(count, 2**62), np.full(count, _TIME_MIN)
    np.minimum.at(earliest, cluster, states[LAST].to_numpy())
    np.maximum.at(latest, of_row, wm)
    alone = earliest < latest - rule.waits_ms
    if each:
        ts = rows[LAST].to_numpy()
        there = np.full(count, _TIME_MIN)
        np.maximum.at(there, cluster[: sessions.height], sessions[LAST].to_numpy())
        before = pl.DataFrame({"c": of_row, "t": ts}).select(pl.col("t").shift(1).over("c")).to_series()
        alone[of_row[ts < before.fill_null(_TIME_MIN).to_numpy()]] = True
        alone[of_row[ts < there[of_row]]] = True
    nth = np.zeros(rows.height, np.int64)
    behind = np.flatnonzero(alone[of_row])
    by_itself = rows[LAST].to_numpy() < np.maximum(wm, _TIME_MIN) - rule.waits_ms
    waiting = pl.DataFrame({"g": rows[GROUP].to_numpy(), "w": wm, "late": by_itself | each})[behind.astype(np.uint32)]
    stands = (pl.col("w") == pl.col("w").shift(1)) & ~pl.col("late") & ~pl.col("late").shift(1)
    nth[behind] = waiting.select((~stands).fill_null(True).cum_sum().over("g")).to_series().to_numpy()
    return nth


def _closed(sessions: pl.DataFrame, rows: pl.DataFrame, wm: Int64s, rule: Gap) -> tuple[Bools, Bools]:
    """(sessions that have closed, sessions of groups that have rows). The first row of a group tells its time."""
    time = pl.DataFrame({GROUP: rows[GROUP], "w": wm}).unique(GROUP, keep="first")
    now = sessions.select(GROUP).join(time, on=GROUP, how="left", maintain_order="left")["w"]
    closed = now.fill_null(_TIME_MIN).clip(lower_bound=_TIME_MIN) - rule.waits_ms > sessions[LAST]
    return closed.to_numpy(), now.is_not_null().to_numpy()


def _clusters(states: pl.DataFrame, gap_ms: int) -> Int64s:
    """The number of the session that each state is part of."""
    ordered = states.select(GROUP, START, LAST).with_row_index("@:o").sort([GROUP, START, "@:o"])
    reach = pl.col(LAST).cum_max().shift(1).over(GROUP) + gap_ms
    begins = ordered.select((pl.col(START) > reach).fill_null(True)).to_series().to_numpy()
    cluster = np.empty(states.height, np.int64)
    cluster[ordered["@:o"].to_numpy()] = np.cumsum(begins) - 1
    return cluster


def _each(
    folds: Folds, states: pl.DataFrame, whose: pl.Series, known: int, dropped: Bools
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(the session as each row left it, the sessions that each row replaced). The first `known` states were there."""
    edges = pl.DataFrame({"c": whose, "s": states[START]}).select(pl.col("s").cum_min().over("c")).to_series()
    so_far = folds.running(states, whose).with_columns(edges.alias(START), states[GROUP], states[AT], whose.alias("c"))
    so_far = so_far.select(*states.columns, "c")
    given = so_far.slice(known).filter(pl.Series(~dropped[whose.to_numpy()[known:]]))
    first = given.select(pl.int_range(pl.len()).over("c") == 0).to_series()
    here = given.select("c", pl.col(AT).alias("@:by"), pl.col(START).alias("@:s"), pl.col(LAST).alias("@:e"))
    old = states.head(known).with_columns(whose.head(known).alias("c"))
    swallowed = old.join(here.filter(first), on="c", how="inner", maintain_order="left")
    previous = given.with_columns(pl.all().exclude("c").shift(1).over("c")).filter(~first)
    later = previous.with_columns(here.filter(~first).drop("c").get_columns())
    # As in Kafka Streams, a session that takes a row is replaced even where its edges stay, unless it is a point.
    gone = pl.concat([swallowed, later.select(swallowed.columns)]).filter(pl.col("@:s") < pl.col("@:e"))
    replaced = gone.with_columns(pl.col("@:by").alias(AT)).select(states.columns)
    return given.drop("c"), replaced
