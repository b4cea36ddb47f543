"""Journal records come back as they were written, and hostile bytes are refused."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.avro_values import VALUE_BYTES_MAX
from streamflow.runtime.committed import InputState
from streamflow.runtime.event_time import InputTime, TaskTime
from streamflow.runtime.journal import SCHEMA, STEPS_MAX, JournalRecord, JournalStep
from streamflow.runtime.late_calls import LateCalls
from streamflow.sdk.errors import CodecError

LONGS = st.integers(-(2**63), 2**63 - 1)
PLACES = st.builds(TopicPartition, st.sampled_from(["orders", "rates", "größe"]), st.integers(0, 3))
STEPS = st.builds(
    JournalStep,
    at=PLACES,
    range=st.builds(
        lambda first, count: OffsetRange(first, first + count), st.integers(0, 2**62), st.integers(0, 2**31)
    ),
    now_ms=LONGS,
    with_previous=st.booleans(),
    idle=st.lists(PLACES, max_size=2).map(tuple),
    woke=st.booleans(),
    late=st.lists(
        st.builds(
            LateCalls,
            node=st.text(max_size=3),
            first=st.integers(0, 2**31 - 1),
            count=st.integers(1, 2**31 - 1),
            made=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)
INPUT_TIMES = st.builds(
    InputTime,
    watermark_ms=LONGS,
    seen_ms=st.none() | LONGS,
    idle=st.booleans(),
    tasks=st.dictionaries(st.integers(0, 3), LONGS),
)
OPEN = st.builds(
    InputState,
    execution=st.text(max_size=3),
    ends=st.dictionaries(st.text(max_size=3), st.lists(st.integers(0, 2**31 - 1), max_size=3), max_size=3),
)


@st.composite
def records(draw: st.DrawFn) -> JournalRecord:
    inputs = tuple(draw(st.lists(PLACES, unique=True, max_size=3)))
    times = tuple(draw(INPUT_TIMES) for _ in inputs)
    has_time, has_state = draw(st.booleans()), draw(st.booleans())
    return JournalRecord(
        stage=draw(st.text(max_size=5)),
        partition=draw(st.integers(0, 2**31 - 1)),
        seed=draw(LONGS),
        steps=tuple(draw(st.lists(STEPS, max_size=5))),
        number=draw(LONGS),
        inputs=inputs if has_state else (),
        open=tuple(draw(OPEN) for _ in inputs) if has_state else (),
        time=TaskTime(watermark_ms=draw(LONGS), inputs=times) if has_time and has_state else None,
    )


@given(records())
def test_a_record_comes_back_as_it_was(record: JournalRecord) -> None:
    assert JournalRecord.decode(record.encode()) == record


def a_step(offset: int = 0, topic: str = "orders") -> JournalStep:
    return JournalStep(at=TopicPartition(topic, 0), range=OffsetRange(offset, offset + 1), now_ms=1_700_000_000_000)


def test_a_step_of_a_usual_commit_takes_few_bytes() -> None:
    steps = tuple(a_step(1_000_000 + i) for i in range(100))
    assert len(JournalRecord(stage="placed", partition=3, steps=steps).encode()) < 20 * 100


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    with suppress(CodecError):
        JournalRecord.decode(value)


@given(records(), st.data())
def test_a_changed_or_cut_record_is_read_or_refused(record: JournalRecord, data: st.DataObject) -> None:
    value = bytearray(record.encode())
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(CodecError):
        JournalRecord.decode(bytes(value))
    with pytest.raises(CodecError):
        JournalRecord.decode(record.encode()[:-1])


def test_bounds_are_kept_both_ways() -> None:
    with pytest.raises(CodecError, match=f"at most {STEPS_MAX}"):
        JournalRecord(stage="s", partition=0, steps=(a_step(),) * (STEPS_MAX + 1)).encode()
    with pytest.raises(CodecError, match="more than"):
        JournalRecord(stage="s" * VALUE_BYTES_MAX, partition=0, steps=()).encode()
    with pytest.raises(CodecError, match="more than"):
        JournalRecord.decode(bytes(VALUE_BYTES_MAX + 1))


def test_another_version_is_told() -> None:
    value = JournalRecord(stage="s", partition=0, steps=()).encode()
    with pytest.raises(CodecError, match="version 6"):
        JournalRecord.decode(b"\x0c" + value[1:])


def test_the_schema_file_is_the_schema() -> None:
    stored = Path(__file__).parents[3] / "schemas" / "journal.avsc"
    assert json.loads(stored.read_text("utf-8")) == SCHEMA
