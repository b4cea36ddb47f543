"""Ways to break what DESIGN section 12 fixes, and the tests that must notice.

Each mutation replaces one piece of text, which must occur exactly once in its file, so that code that moves on is
missed at once (`tests/unit/test_mutations.py`). `python -m tests.mutations.run` applies them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One defect. `tests`: as pytest names them, any of which must fail."""

    point: str  # of DESIGN section 12
    broken: str  # what does not hold any more, in one sentence
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


BATCHES = "tests/property/test_semantics_batches.py"
ORDER = "tests/property/test_semantics_order.py"
ACCOUNTING = "tests/property/test_semantics_accounting.py"
HISTORY = "tests/property/test_execution_states.py"
WATCH = "tests/unit/runtime/test_executions.py"
GLOBAL = "tests/simulation/test_global_tables.py"
REPLAY = "tests/simulation/test_replay.py"
FAULTS = "tests/simulation/test_faults.py"
STOP = "tests/simulation/test_stop.py"
DELAYS = "tests/unit/runtime/test_delaying.py"
PARKING = "tests/unit/runtime/test_parking.py"
WAITS = "tests/simulation/test_waits.py"
LOOPS = "tests/simulation/test_loops_across.py"
EXPRESSIONS = "tests/property/test_expressions.py"
CODECS = "tests/property/test_codecs.py"
FEW = "tests/property/test_few_records.py"
ENVELOPE = "tests/property/test_semantics_codec.py::test_a_lie_in_the_envelope_is_seen"

MUTATIONS: tuple[Mutation, ...] = (
    # 1. A physical batch is never observable.
    Mutation(
        "12.1",
        "limit counts each step of an execution anew",
        "streamflow/operators/limiting.py",
        'if self.scope == "stream" or self.bounded:',
        'if self.scope == "stream":',
        (f"{BATCHES}::test_cuts_change_nothing[limit-run-typed]",),
    ),
    Mutation(
        "12.1",
        "batch forgets how many items wait from earlier steps",
        "streamflow/operators/batching.py",
        "if self.size is None or kept.count(name) + rows.height < self.size:",
        "if self.size is None or rows.height < self.size:",
        (f"{BATCHES}::test_cuts_change_nothing[batch-item-typed]",),
    ),
    Mutation(
        "12.1",
        "batch numbers the lists of each step anew",
        "streamflow/operators/batching.py",
        "        number = self._number(name, ctx)\n",
        "        number = 0\n",
        (f"{BATCHES}::test_cuts_change_nothing[batch-item-typed]",),
    ),
    Mutation(
        "12.1",
        "sort treats what a step brings as the whole execution",
        "streamflow/operators/whole_set.py",
        "        if self.bounded:\n",
        "        if False:\n",
        (f"{BATCHES}::test_cuts_change_nothing[sort-run-typed]",),
    ),
    Mutation(
        "12.1",
        "rows that a later step brings to an execution overwrite the earlier ones",
        "streamflow/operators/execution_rows.py",
        "            number += 1\n",
        "            number += 0\n",
        (f"{BATCHES}::test_cuts_change_nothing[sort-run-any]",),
    ),
    Mutation(
        "12.1",
        "rows fail for what one left behind that failed elsewhere",
        "streamflow/operators/stepwise.py",
        "alone = len(self.folds) == 1 and len(np.unique(source)) == len(source)",
        "alone = True",
        ("tests/property/test_window_models.py::test_windows_are_those_of_the_model[hopping]",),
    ),
    # 2. Order and lineage.
    Mutation(
        "12.2",
        "a merge puts its wires after each other instead of by arrival",
        "streamflow/runtime/graph.py",
        "order = [*(c for c in by if c in merged.columns), _WIRE]",
        "order = [_WIRE, ROW]",
        (f"{ORDER}::test_branches_that_meet_give_items_back_in_their_order",),
    ),
    Mutation(
        "12.2",
        "a merge ignores paths, so that children of one item come wire by wire",
        "streamflow/runtime/graph.py",
        "order = [*(c for c in by if c in merged.columns), _WIRE]",
        "order = [ROW, _WIRE]",
        (f"{ORDER}::test_children_come_in_the_order_of_their_paths",),
    ),
    Mutation(
        "12.2",
        "children of a split have the path of their parent",
        "streamflow/operators/explode.py",
        "return extend_path(frame.explode(column), index), index",
        "return frame.explode(column), index",
        (f"{ORDER}::test_source_offset_and_path_name_every_row",),
    ),
    Mutation(
        "12.2",
        "paths are little-endian, so that bytewise order is not the order of children",
        "streamflow/operators/explode.py",
        'raw = np.arange(top + 1, dtype=">u4").tobytes()',
        'raw = np.arange(top + 1, dtype="<u4").tobytes()',
        (f"{ORDER}::test_more_than_a_byte_of_children_keep_their_order",),
    ),
    Mutation(
        "12.2",
        "a combine pairs rows of different executions",
        "streamflow/operators/combining.py",
        "executions.setdefault(execution, {})[port] = rows",
        'executions.setdefault("", {})[port] = rows',
        (f"{ORDER}::test_combines_keep_executions_apart",),
    ),
    # 4. Replay.
    Mutation(
        "12.4",
        "a row is taken although the log has more of another input",
        "streamflow/runtime/buffers.py",
        "more=more or held is not None",
        "more=False",
        ("tests/simulation/test_input_order.py::test_a_replay_from_the_start_gives_the_rows_of_the_live_run",),
    ),
    Mutation(
        "12.4",
        "a row is taken although a task before has more to give to another input",
        "streamflow/runtime/task.py",
        "waits = clock is not None and clock.on_the_way(at)",
        "waits = False",
        ("tests/simulation/test_input_order.py::test_behind_a_repartition_too_whatever_fails",),
    ),
    Mutation(
        "12.4",
        "a replay reads the clock instead of the journal",
        "streamflow/runtime/task.py",
        "until=until, now_ms=first.now_ms, idle=first.idle)",
        "until=until, now_ms=self._clock_ms(), idle=first.idle)",
        (f"{REPLAY}::test_a_replay_repeats_clock_chance_dead_letters_and_all_outputs",),
    ),
    Mutation(
        "12.4",
        "the journal does not say in which order inputs were processed",
        "streamflow/runtime/program.py",
        "steps=tuple(steps))",
        "steps=tuple(sorted(steps, key=lambda s: (s.at, s.range))))",
        (f"{REPLAY}::test_a_replay_repeats_the_order_of_steps_within_a_commit",),
    ),
    Mutation(
        "12.4",
        "chance has no seed",
        "streamflow/runtime/context.py",
        'return np.random.default_rng(int.from_bytes(seed.digest()[:16], "big"))',
        "return np.random.default_rng()",
        (
            f"{REPLAY}::test_a_replay_repeats_clock_chance_dead_letters_and_all_outputs",
            f"{REPLAY}::test_chance_depends_on_item_and_node_alone",
        ),
    ),
    Mutation(
        "12.4",
        "two nodes draw the same numbers for an item",
        "streamflow/runtime/context.py",
        'b"\\0".join((self.workflow.encode(), self.node.encode(), execution.encode(), path))',
        'b"\\0".join((self.workflow.encode(), execution.encode(), path))',
        (f"{REPLAY}::test_chance_depends_on_item_and_node_alone",),
    ),
    Mutation(
        "12.4",
        "the journal does not say when global tables were read",
        "streamflow/runtime/table_reader.py",
        "waiting, self._waiting = self._waiting, []",
        "waiting, self._waiting = [], []",
        (f"{GLOBAL}::test_a_change_is_seen_by_what_comes_after_it",),
    ),
    # 6. Typed expressions lower to (value, error code).
    Mutation(
        "12.6",
        "integer arithmetic wraps as polars does",
        "streamflow/expressions/columns.py",
        "if min(corners) >= LONG_MIN and max(corners) <= LONG_MAX:",
        "if corners:",
        ("tests/unit/expressions/test_examples.py", f"{EXPRESSIONS}::test_both_backends_agree_on_each_function"),
    ),
    Mutation(
        "12.6",
        "a division by zero gives what polars gives",
        "streamflow/expressions/functions/operators.py",
        "errors = errors_where(zero & a.is_not_null(), DIVISION_BY_ZERO)",
        "errors = None",
        ("tests/unit/expressions/test_examples.py", f"{EXPRESSIONS}::test_both_backends_agree_on_each_function"),
    ),
    Mutation(
        "12.6",
        "coalesce does not hide the errors of arguments that are not needed",
        "streamflow/expressions/polars_backend.py",
        "result = _only(result, empty if own is None else empty & (own == 0))",
        "pass",
        ("tests/unit/expressions/test_examples.py", f"{EXPRESSIONS}::test_both_backends_agree"),
    ),
    # 8. State and abort.
    Mutation(
        "12.8",
        "an aborted transaction leaves its changes in the store",
        "streamflow/runtime/checkpoint.py",
        "        store.abort()\n",
        "",
        (f"{FAULTS}::test_a_commit_of_unknown_outcome_does_not_stop_the_run",),
    ),
    Mutation(
        "12.8",
        "after an unknown outcome the old producer goes on",
        "streamflow/runtime/task.py",
        "from what it holds.\n            await self._recover(error)\n",
        "from what it holds.\n            await self._rewind()\n",
        (f"{FAULTS}::test_a_commit_of_unknown_outcome_does_not_stop_the_run",),
    ),
    Mutation(
        "12.8",
        "changes of stores are not written to their changelogs",
        "streamflow/runtime/transaction.py",
        "await producer.append(at, encode_changes(changes, timestamp_ms=timestamp_ms))",
        "pass",
        (f"{FAULTS}::test_a_full_log_stops_the_run_and_keeps_what_was_committed",),
    ),
    Mutation(
        "12.8",
        "input offsets are not part of the transaction",
        "streamflow/runtime/transaction.py",
        "            await producer.send_offsets(self._group, offsets)\n",
        "",
        (f"{FAULTS}::test_a_full_log_stops_the_run_and_keeps_what_was_committed",),
    ),
    Mutation(
        "12.8",
        "stores take over their changes before the log has them",
        "streamflow/runtime/transaction.py",
        '            crash_point("after-changelog")\n',
        "            for at, store in changed.items():\n                store.commit(store.changelog_offset)\n",
        (f"{FAULTS}::test_a_commit_of_unknown_outcome_does_not_stop_the_run",),
    ),
    Mutation(
        "12.8",
        "state on disk does not say how far it goes",
        "streamflow/state/rocks.py",
        "        batch.put(self._offset_key, _AT.pack(changelog_offset, as_of_ms))\n",
        "",
        ("tests/unit/state/test_rocks.py::test_what_was_committed_is_there_again_and_what_was_not_is_gone",),
    ),
    Mutation(
        "12.8",
        "state on disk is believed whatever it is a copy of",
        "streamflow/state/rocks_folder.py",
        "        if found == self._binding:\n",
        "        if found is not None:\n",
        ("tests/unit/state/test_rocks.py::test_state_of_something_else_is_begun_anew",),
    ),
    Mutation(
        "12.8",
        "a file source that was at its end is not read again after a commit that did not happen",
        "streamflow/runtime/source_task.py",
        "self._pending, self._dead, self._read, self.done = [], DeadWrites(), False, False\n",
        "self._pending, self._dead, self._read = [], DeadWrites(), False\n",
        (f"{FAULTS}::test_a_file_is_read_again_when_the_commit_of_its_end_did_not_happen",),
    ),
    # 9. Accounting.
    Mutation(
        "12.9",
        "every task gives account of all records of a global table",
        "streamflow/runtime/global_tables.py",
        "[at for at in self._of if at.partition % program.tasks == program.partition]",
        "list(self._of)",
        (f"{GLOBAL}::test_a_record_that_cannot_be_read_is_one_dead_letter",),
    ),
    Mutation(
        "12.9",
        "a node may lose rows",
        "streamflow/runtime/graph.py",
        "if forwarded < 0 or children < forwarded or (exact and children != forwarded):",
        "if forwarded < 0 or (exact and children > forwarded):",
        (f"{ACCOUNTING}::test_a_node_that_miscounts_is_refused_and_its_step_not_committed",),
    ),
    Mutation(
        "12.9",
        "a node that gives one row for one may double rows",
        "streamflow/runtime/graph.py",
        "if forwarded < 0 or children < forwarded or (exact and children != forwarded):",
        "if forwarded < 0 or children < forwarded:",
        (f"{ACCOUNTING}::test_a_node_that_miscounts_is_refused_and_its_step_not_committed",),
    ),
    Mutation(
        "12.9",
        "filtered rows are not in the ledger",
        "streamflow/runtime/graph.py",
        "        counts.filtered += result.filtered\n",
        "",
        (f"{ACCOUNTING}::test_random_workflows_balance",),
    ),
    Mutation(
        "12.9",
        "rows that fail as they come out of state have no place in the ledger",
        "streamflow/runtime/graph.py",
        "self.counts[plan.id].failed_from_state += 0 if result.failed is None else len(result.failed)",
        "pass",
        (f"{ACCOUNTING}::test_rows_that_fail_as_they_come_out_of_state_are_accounted_for",),
    ),
    Mutation(
        "12.9",
        "rows that fail as an execution ends push out those that failed just before",
        "streamflow/runtime/graph.py",
        "if append and (earlier := step.ports.get((plan.id, port))) is not None:",
        "if False:",
        (f"{ACCOUNTING}::test_rows_that_fail_before_and_at_the_end_of_an_execution_all_reach_the_error_port",),
    ),
    Mutation(
        "12.9",
        "of several steps in a commit only the last one's records are counted as written",
        "streamflow/runtime/records.py",
        "            total.rows += count.rows\n",
        "            total.rows = count.rows\n",
        (f"{ACCOUNTING}::test_random_workflows_balance",),
    ),
    Mutation(
        "12.9",
        "records that do not decode are dropped without a trace",
        "streamflow/runtime/program.py",
        "        taken.bad.extend(arrived.bad)\n",
        "",
        (f"{ACCOUNTING}::test_random_workflows_balance",),
    ),
    Mutation(
        "12.9",
        "an execution is completed while rows of it are on their way to another stage",
        "streamflow/runtime/execution_states.py",
        '~pl.col("moving") & ~open_end & ~waits',
        "~open_end & ~waits",
        (f"{HISTORY}::test_no_order_of_events_makes_an_illegal_transition_or_a_status_too_early",),
    ),
    Mutation(
        "12.9",
        "siblings of one arrival all count as parents of the children of one of them",
        "streamflow/runtime/execution_counts.py",
        'out, by = pl.concat([out, out.with_columns(parent)]), [*by, "p"]',
        "out = pl.concat([out, out.with_columns(parent)])",
        (f"{WATCH}::test_siblings_without_children_are_told_by_their_paths",),
    ),
    Mutation(
        "12.9",
        "rows that their topic did not take count as sent in the history of their execution",
        "streamflow/runtime/execution_counts.py",
        '            self._add(self._sinks[node], "sent", gone)\n',
        "            pass\n",
        (f"{WATCH}::test_rows_that_their_topic_does_not_take_were_not_sent",),
    ),
    # 11. `stop`.
    Mutation(
        "12.11",
        "a step with a failing row is committed like any other",
        "streamflow/runtime/task.py",
        "        if done.stop is not None:\n",
        "        if False:\n",
        (f"{STOP}::test_stop_commits_the_rows_before_the_first_failure[137-1048576]",),
    ),
    Mutation(
        "12.11",
        "what the failing step did to stores stays",
        "streamflow/runtime/task.py",
        "(done.stop.at, done.stop.offset, done.stop.text)\n            await self._rewind()\n",
        "(done.stop.at, done.stop.offset, done.stop.text)\n",
        (f"{STOP}::test_stop_commits_the_rows_before_the_first_failure[137-1048576]",),
    ),
    Mutation(
        "12.11",
        "a file trigger does not read again what it read together with a failing line",
        "streamflow/runtime/source_task.py",
        "        self._reopen()\n        return True\n",
        "        return True\n",
        (f"{STOP}::test_a_line_that_does_not_decode_stops_at_its_place",),
    ),
    Mutation(
        "12.11",
        "a file trigger goes on behind a line that does not decode",
        "streamflow/runtime/source_task.py",
        '        if bad and self._errors.on_error == "stop":\n',
        "        if False:\n",
        (f"{STOP}::test_a_line_that_does_not_decode_stops_at_its_place",),
    ),
    # 12. What a topic would reject is dead-lettered before it is sent.
    Mutation(
        "12.12",
        "what was written for a row that a store refuses stays",
        "streamflow/runtime/careful.py",
        "            store.rollback(mark)\n",
        "            pass\n",
        ("tests/unit/runtime/test_careful.py::test_only_the_rows_that_do_not_fit_fail",),
    ),
    Mutation(
        "12.12",
        "rows are held to what is usual, whatever their topic takes",
        "streamflow/runtime/emit.py",
        "limit = self._limits.get(sink.topic, SIZE_BYTES_MAX)",
        "limit = SIZE_BYTES_MAX",
        ("tests/simulation/test_too_large.py::test_a_row_that_its_topic_does_not_take_is_dead_lettered",),
    ),
    # Items that wait by key (docs/decisions/0028).
    Mutation(
        "12.1",
        "rows behind one that is put aside are let through if they came in the same batch",
        "streamflow/runtime/parking.py",
        "if name is not None and row > first.get(name, tried.count):",
        "if False:",
        (f"{PARKING}::test_a_key_waits_in_order_and_others_go_on",),
    ),
    Mutation(
        "12.4",
        "waits before a retry are drawn anew in a replay",
        "streamflow/runtime/retry_rule.py",
        'ctx.random(execution, path + b"@retry")',
        "np.random.default_rng()",
        ("tests/unit/runtime/test_failures.py::test_chance_is_the_rows_own_and_bounded",),
    ),
    Mutation(
        "12.8",
        "what was put aside is remembered although its transaction was aborted",
        "streamflow/runtime/parked.py",
        "if self._store.generation != self._generation:",
        "if False:",
        (f"{PARKING}::test_an_abort_takes_back_what_was_put_aside",),
    ),
    Mutation(
        "12.8",
        "what was delayed is remembered although its transaction was aborted",
        "streamflow/runtime/delayed.py",
        "if self._store.generation != self._generation:",
        "if False:",
        (f"{DELAYS}::test_an_abort_takes_back_what_was_delayed",),
    ),
    # 10. Waits.
    Mutation(
        "12.10",
        "what woke is not in the journal",
        "streamflow/runtime/task.py",
        "now_ms=now_ms, woke=True)",
        "now_ms=now_ms)",
        (f"{WAITS}::test_waits_for_a_duration",),
    ),
    Mutation(
        "12.10",
        "what is due is overtaken by what comes at the same reading of the clock",
        "streamflow/runtime/task.py",
        "while self._stop_at is None and await self._wake(now_ms):",
        "if self._stop_at is None and await self._wake(now_ms):",
        (f"{WAITS}::test_much_that_is_due_at_once_is_woken_in_parts",),
    ),
    Mutation(
        "12.10",
        "items of a step are taken before its signals, whatever came first",
        "streamflow/operators/signal_rules.py",
        "((row, False, i) for i, row in enumerate(items.rows))",
        "((0, False, i) for i, row in enumerate(items.rows))",
        ("tests/property/test_waits.py::test_waits_for_signals_do_what_the_rules_say_however_they_are_cut",),
    ),
    Mutation(
        "12.10",
        "what is due next is not looked up again after an abort",
        "streamflow/operators/alarms.py",
        "if store.generation != self._generation:",
        "if self._generation == _UNKNOWN:",
        ("tests/unit/operators/test_alarms.py::test_it_looks_anew_when_the_store_was_changed_from_outside",),
    ),
    Mutation(
        "12.10",
        "an early signal answers every item that comes",
        "streamflow/operators/signal_rules.py",
        "            kept.remove(signal)\n",
        "",
        (f"{WAITS}::test_waits_for_signals",),
    ),
    # 13. Columnar codec.
    Mutation(
        "12.13",
        "a record's length is not checked against its parts",
        "streamflow/codecs/envelope_columns.py",
        "if not (length == head + value_size + 1).all():",
        "if False:",
        (f"{ENVELOPE}[length]", f"{CODECS}::test_damaged_records_end_in_one_place_and_by_themselves"),
    ),
    Mutation(
        "12.13",
        "a value's length is not checked against what was read",
        "streamflow/codecs/envelope_columns.py",
        "if not (announced == value_size).all():",
        "if False:",
        (f"{ENVELOPE}[value length]", f"{CODECS}::test_damaged_records_end_in_one_place_and_by_themselves"),
    ),
    Mutation(
        "12.13",
        "the header count is not checked",
        "streamflow/codecs/envelope_columns.py",
        'if raw["eheaders"].to_numpy().any() or raw["eattr"].to_numpy().any():',
        'if raw["eattr"].to_numpy().any():',
        (f"{ENVELOPE}[header count]", f"{CODECS}::test_damaged_records_end_in_one_place_and_by_themselves"),
    ),
    Mutation(
        "12.13",
        "of few records, a value's length is not checked",
        "streamflow/codecs/few_records.py",
        "if at != end - 1:",
        "if False:",
        (f"{FEW}::test_both_ways_refuse_the_same_values",),
    ),
    Mutation(
        "12.13",
        "of few records, numbers outside their type are taken",
        "streamflow/codecs/few_records.py",
        "if not low <= number <= high:",
        "if False:",
        (f"{FEW}::test_an_index_that_no_symbol_has_is_refused",),
    ),
    Mutation(
        "12.7",
        "at least once: the positions are committed before the outputs are there",
        "streamflow/runtime/task.py",
        """        await self._at_once.give(wait=True)
        begun_s, pending, program = time.perf_counter(), self._pending, self._program
""",
        """        begun_s, pending, program = time.perf_counter(), self._pending, self._program
""",
        ("tests/simulation/test_at_least_once.py::test_outputs_that_wait_are_there_before_their_commit",),
    ),
    # Loops across topics (docs/decisions/0036).
    Mutation(
        "12.2",
        "rows come back to another task than the one that they entered a loop in",
        "streamflow/nodes/loop_back.py",
        "home = pl.col(loop_column(self.loop, HOME)).cast(pl.Int32).alias(TO)",
        "home = pl.lit(0, dtype=pl.Int32).alias(TO)",
        (f"{LOOPS}::test_an_execution_runs_while_rows_of_it_are_on_their_way",),
    ),
    Mutation(
        "12.3",
        "event time waits for rows that go round",
        "streamflow/runtime/task_clock.py",
        "aside=plan.aside or plan.back,",
        "aside=plan.aside,",
        ("tests/simulation/test_loops_across.py::test_windows_behind_go_by_the_time_of_what_enters_the_loop",),
    ),
)
