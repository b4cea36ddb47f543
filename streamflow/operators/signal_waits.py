"""Items that wait for a signal of their key.

Rows of both ports are taken one by one, in the order in which they arrived; so where a stream is cut into steps shows
nowhere. An answered item comes out where its signal came, one that finds an early signal where it came itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
import polars as pl

from streamflow.model.batch import EXECUTION, ROW, WM, Batch
from streamflow.model.types import PAYLOAD, Schema, Type
from streamflow.operators import signals
from streamflow.operators.alarms import NEVER
from streamflow.operators.control import by_deadline, out_of_time
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.keys import key_bytes
from streamflow.operators.signal_lists import ANYONE, ITEM, SIGNAL, Kept, SignalLists, times_of, who, without
from streamflow.operators.signal_rules import Answer, Came, Rules, settle
from streamflow.operators.signals import EARLY, UNCLAIMED
from streamflow.operators.typed_json import typed_items
from streamflow.operators.waiting import (
    DUE,
    STORE,
    due_ms,
    ended_together,
    over_among,
    portions,
    timed,
    waiting_rows,
    woken,
)
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, EndedExecutions, Result
from streamflow.sdk.state import StateStore

KEY_VALUE: Final = "key"
_IN_VAIN: Final = "no item waited for it, or came within `keep_early`"
_TOO_MANY: Final = "no item waits for it, and `keep_early_max` signals of its key are kept already"


@dataclass(slots=True)
class SignalWaitOperator:
    """`projection` gives KEY_VALUE and, where there is a time-out, DUE. `schema`: of the items that come in; `made`: of
    those that were answered.
    """

    projection: Projection
    labels: Mapping[str, str]
    schema: Schema
    made: Schema
    earlier: Mapping[str, Schema]
    rules: Rules
    remembered: Mapping[str, Type] = field(default_factory=dict)  # by loops across topics
    _items: KeptRows = field(init=False)
    _early: KeptRows = field(init=False)
    _lists: SignalLists = field(init=False)

    def __post_init__(self) -> None:
        self._items = KeptRows(self.schema, self.earlier, remembered=self.remembered)
        self._early = KeptRows(EARLY, {})
        self._lists = SignalLists()

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        store, failures = ctx.store(STORE), list[Batch | None]()
        items = self._came_in(inputs["in"], ctx, failures) if "in" in inputs else Came()
        heard = self._heard(inputs["signals"], ctx) if "signals" in inputs else Came()
        lists = self._lists.load(store, list(dict.fromkeys([*items.keys, *heard.keys])))
        before = {key: times_of(kept) for key, kept in lists.items()}
        done = settle(items, heard, lists, self.rules)
        self._keep(store, before, lists, items, heard)
        outputs = {}
        if done.answers:
            outputs["out"] = self._answered(done.answers, items.batch)
        if done.unclaimed and heard.batch is not None:
            outputs["unclaimed"] = _lost(heard.batch.frame[done.unclaimed], _TOO_MANY)
        if done.refused and items.batch is not None:
            message = f"{self.labels[KEY_VALUE]}: {self.rules.waiting_max} items wait under this key already."
            failures.append(fail(_rows(items.batch, done.refused), "too_many_waiting", message))
        return Result(
            outputs=outputs, failed=join_failed(failures), filtered=done.heard, absorbed=done.absorbed,
            emitted=done.emitted,
        )  # fmt: skip

    def due_ms(self, ctx: Context) -> int | None:
        return self._lists.next_ms(ctx.store(STORE))

    def wake(self, ctx: Context) -> Result:
        """Items whose time-out has passed, and signals that were kept long enough."""
        store = ctx.store(STORE)
        ringing = self._lists.ringing(store, ctx.now_ms)
        lists = self._lists.load(store, list(dict.fromkeys(key for _, key in ringing)))
        over = [one for at_ms, key in ringing for one in lists[key] if one.due_ms == at_ms]
        gone = frozenset(over)
        alarms = {k: times_of(one for one in kept if one not in gone) for k, kept in lists.items()}
        left = {k: without(kept, gone) for k, kept in lists.items()}
        self._lists.keep(store, alarms, {k: [(one, one.data) for one in kept] for k, kept in left.items()})
        late = [one for one in over if one.kind == ITEM]
        vain = [one.data for one in over if one.kind == SIGNAL]
        outputs: dict[str, Batch] = {}
        failed, ended, emitted = None, None, len(vain)
        if vain:
            outputs["unclaimed"] = _lost(woken(self._early.decode(vain), ctx.watermark_ms), _IN_VAIN)
        if late:
            kept = self._items.decode([one.data for one in late])
            rows, ended = out_of_time(Batch(kept, self.schema), [one.due_ms for one in late])
            rows = rows.with_frame(woken(rows.frame, ctx.watermark_ms))
            ended = None if ended is None else ended.with_frame(woken(ended.frame, ctx.watermark_ms))
            if not len(rows):
                pass
            elif self.rules.fails_late:
                failed = fail(rows, "timed_out", "timeout: no signal came in time.")
            else:
                outputs["timeout"] = rows
                emitted += len(rows)
        return Result(outputs=outputs, failed=failed, emitted=emitted, ended=ended)

    def release(self, executions: EndedExecutions, ctx: Context) -> Result:
        """Items of executions that end. All that is kept is looked through, in portions."""
        store, ended = ctx.store(STORE), list[Batch]()
        before: dict[bytes, set[int]] = {}
        after: dict[bytes, list[tuple[Kept, bytes]]] = {}
        for entries in portions(self._lists.all(store)):
            items = [(key, one) for key, kept in entries for one in kept if one.kind == ITEM]
            over = over_among(self._items, [one.data for _, one in items], self.schema, executions)
            if over is None:
                continue
            ended.append(over.rows)
            gone = {id(items[number][1]) for number in over.numbers}
            for key, kept in entries:
                left = [(one, one.data) for one in kept if id(one) not in gone]
                if len(left) < len(kept):
                    before[key], after[key] = times_of(kept), left
        self._lists.keep(store, before, after)
        return Result(ended=ended_together(ended, ctx.watermark_ms))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Each item that waits, with its time-out, and each early signal, with the time until which it is kept."""
        frames = []
        entries = self._lists.read(stores[STORE])
        for kind, rows in ((ITEM, self._items), (SIGNAL, self._early)):
            own = [(key, one) for key, one in entries if one.kind == kind]
            due = [None if one.due_ms >= NEVER else one.due_ms for _, one in own]
            frame = waiting_rows(rows.decode([one.data for _, one in own]), due, [key for key, _ in own])
            if kind == SIGNAL:
                text = pl.col(signals.PAYLOAD).cast(pl.String, strict=False).alias("@early")
                frame = frame.select(c for c in frame.columns if c.startswith("@") and c != EXECUTION).hstack(
                    frame.select(text)
                )
            frames.append(frame)
        return pl.concat(frames, how="diagonal")

    def _came_in(self, batch: Batch, ctx: Context, failures: list[Batch | None]) -> Came:
        batch, values, failed = evaluate(batch, self.projection, self.labels)
        failures.append(failed)
        keys = key_bytes(values[KEY_VALUE], self.projection.types[KEY_VALUE])
        odd = keys.is_null()
        if odd.any():
            message = f"{self.labels[KEY_VALUE]}: no signal can be for an item whose key is null."
            failures.append(fail(batch.where(odd), "null_value", message))
            batch, values, keys = batch.where(~odd), values.filter(~odd), keys.filter(~odd)
        if self.schema.kind == "any":
            odd = ~batch.frame[PAYLOAD].bin.starts_with(b"{").fill_null(False)
            if odd.any():
                failures.append(fail(batch.where(odd), "wrong_type", "field: the item is no JSON object."))
                batch, values, keys = batch.where(~odd), values.filter(~odd), keys.filter(~odd)
        due = pl.repeat(NEVER, len(batch), dtype=pl.Int64, eager=True)
        if DUE in values.columns:
            due = due_ms(values[DUE], ctx.now_ms)
            fits = due.is_not_null()
            batch, due, odd_times = timed(batch, due, self.labels[DUE])
            failures.append(odd_times)
            keys = keys.filter(fits)
        due = by_deadline(due, batch.frame)
        who_of = [who(execution) for execution in batch.frame[EXECUTION].to_list()]
        return Came(batch, keys.to_list(), due.to_list(), who_of, batch.frame[ROW].to_list(), _marks(batch))

    def _heard(self, batch: Batch, ctx: Context) -> Came:
        frame = batch.frame
        keys = frame["key"].cast(pl.Binary).to_list()
        who_of = [ANYONE if execution is None else who(execution) for execution in frame["execution"].to_list()]
        due = [ctx.now_ms + self.rules.keep_early_ms] * len(batch)
        payloads = [b"null" if text is None else text for text in frame[signals.PAYLOAD].to_list()]
        ids = [None if given is None else who(given) for given in frame[signals.ID].to_list()]
        until_ms = ctx.now_ms + self.rules.repeats_ms
        return Came(batch, keys, due, who_of, frame[ROW].to_list(), _marks(batch), payloads, ids, until_ms)

    def _keep(
        self, store: StateStore, before: Mapping[bytes, set[int]], lists: Mapping[bytes, list[Kept]], items: Came,
        heard: Came,
    ) -> None:  # fmt: skip
        """Write what is kept now; rows of this step are encoded together."""
        data: dict[int, bytes] = {}
        for kind, came, rows in ((ITEM, items, self._items), (SIGNAL, heard, self._early)):
            new = [one for kept in lists.values() for one in kept if one.kind == kind and one.row >= 0]
            if new and came.batch is not None:
                encoded = rows.encode(came.batch.frame[[one.row for one in new]])
                data |= {id(one): value for one, value in zip(new, encoded, strict=True)}
        after = {key: [(one, data.get(id(one), one.data)) for one in kept] for key, kept in lists.items()}
        self._lists.keep(store, before, after)

    def _payloads(self, answers: Sequence[Answer]) -> list[bytes]:
        """Payloads of the answers; those of signals that were early are read together."""
        early = [a.signal.data for a in answers if a.payload is None and a.signal is not None]
        kept = iter(self._early.decode(early)[signals.PAYLOAD].to_list() if early else ())
        found = [next(kept) if a.payload is None else a.payload for a in answers]
        return [b"null" if text is None else text for text in found]

    def _answered(self, answers: Sequence[Answer], came: Batch | None) -> Batch:
        """Answered items with their payloads, in the order of the answers."""
        old = [i for i, a in enumerate(answers) if a.item.row < 0]
        new = [i for i, a in enumerate(answers) if a.item.row >= 0]
        frames = [self._items.decode([answers[i].item.data for i in old])] if old else []
        if new and came is not None:
            frames.append(came.frame[[answers[i].item.row for i in new]])
        rows = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")
        places = pl.Series([*old, *new], dtype=pl.UInt32)
        rows = rows[places.arg_sort()].with_columns(pl.Series(ROW, [a.position for a in answers], dtype=pl.UInt32))
        if any(a.wm is not None for a in answers):
            rows = rows.with_columns(pl.Series(WM, [a.wm for a in answers], dtype=pl.Int64))
        payloads = self._payloads(answers)
        name, payload = self.rules.field, self.rules.payload
        if self.schema.kind == "any":
            texts = [
                orjson.dumps(orjson.loads(item) | {name: orjson.loads(text)})
                for item, text in zip(rows[PAYLOAD].to_list(), payloads, strict=True)
            ]
            return Batch(rows.with_columns(pl.Series(PAYLOAD, texts, dtype=pl.Binary)), self.made)
        made = pl.Series(name, payloads, dtype=pl.Binary)
        if payload is not None:
            made = typed_items(made, payload)[0].to_struct(name)
        return Batch(rows.with_columns(made), self.made)


def _marks(batch: Batch) -> list[int] | None:
    return batch.frame[WM].to_list() if WM in batch.frame.columns else None


def _rows(batch: Batch, rows: Sequence[int]) -> Batch:
    return batch.with_frame(batch.frame[list(rows)])


def _lost(rows: pl.DataFrame, why: str) -> Batch:
    return Batch(rows.drop(signals.ID, strict=False).with_columns(pl.lit(why).alias(signals.WHY)), UNCLAIMED)
