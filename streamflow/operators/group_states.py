"""States of groups in one window without end: an entry for each group, since they are more than memory may hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from streamflow.operators.open_windows import Found
from streamflow.operators.window_rows import Folds
from streamflow.sdk.state import StateStore


class GroupStates:
    """`find` what a step's groups have, then `keep` what they have now. Entry: `prefix ‖ group` -> its state."""

    def __init__(self, folds: Folds, *, prefix: bytes) -> None:
        self._folds, self._codec, self._prefix = folds, folds.codec(), prefix
        self._names: list[bytes] = []

    def find(self, store: StateStore, groups: pl.DataFrame) -> Found | None:
        """The states of `groups`. None: all of them are new."""
        self._names = [self._prefix + name for name in self._folds.keys.names(groups)]
        found = store.get_many(self._names)
        known = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
        if not len(known):
            return None
        return Found(self._codec.decode([value for value in found if value is not None]), known)

    def keep(self, store: StateStore, now: pl.DataFrame) -> None:
        """`now` are the states of the groups that were asked for last, in their order."""
        store.put_many(self._names, self._codec.encode(now))

    def read(self, entries: Sequence[tuple[bytes, bytes]]) -> pl.DataFrame:
        """The states that entries of a store hold. Needs no `find`."""
        return self._codec.decode([value for _, value in entries])
