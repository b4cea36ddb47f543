"""Dead letters keep everything, byte for byte, and always fit a record."""

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs.recordbatch import as_read
from streamflow.codecs.records import Record, from_records, records
from streamflow.model.dead_letter import DEAD_LETTER
from streamflow.runtime.deadletter import (
    MESSAGE_CHARS_MAX,
    RECORD_BYTES_MAX,
    DeadLetter,
    decode_dead_letters,
    encode_dead_letters,
)
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import NewBatch, RecordBatch
from streamflow.topology.envelopes import avro_of

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=6)
LETTERS = st.builds(
    DeadLetter,
    workflow=TEXT,
    stage=TEXT,
    node=TEXT,
    code=TEXT,
    message=TEXT,
    timestamp_ms=st.integers(-(2**62), 2**62),
    attempt=st.integers(1, 2**31 - 1),
    execution=st.none() | TEXT,
    topic=TEXT,
    partition=st.integers(-1, 2**31 - 1),
    offset=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=80),
    headers=st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=4)), max_size=3).map(tuple),
    item=st.none() | TEXT,
)


def stored(batches: list[NewBatch]) -> list[RecordBatch]:
    out, first = [], 0
    for batch in batches:
        out.append(as_read(batch, base_offset=first))
        first += batch.count
    return out


def at(letter: DeadLetter, position: int) -> DeadLetter:
    return DeadLetter(**{n: getattr(letter, n) for n in DeadLetter.__slots__} | {"position": position})


def a_letter(**fields: object) -> DeadLetter:
    usual = {
        "workflow": "w",
        "stage": "s",
        "node": "n",
        "code": "bad_cast",
        "message": "m",
        "timestamp_ms": 5,
        "topic": "shop.orders",
        "partition": 2,
        "offset": 77,
    }
    return DeadLetter(**(usual | fields))  # type: ignore[arg-type]


@given(st.lists(LETTERS, max_size=8))
def test_letters_come_back_as_they_were(letters: list[DeadLetter]) -> None:
    found = decode_dead_letters(stored(encode_dead_letters(letters)))
    assert found == [at(letter, i) for i, letter in enumerate(letters)]


def test_other_avro_readers_see_the_same() -> None:
    letter = a_letter(key=b"k", value=b"\x00\xff", headers=(("h", None),), execution="orders#1/2:77")
    (batch,) = stored(encode_dead_letters([letter]))
    (record,) = records(batch)
    import io

    found = fastavro.schemaless_reader(
        io.BytesIO(record.value or b""), fastavro.parse_schema(avro_of(DEAD_LETTER)), None
    )
    assert isinstance(found, dict)
    assert (found["value"], found["headers"], found["offset"]) == (b"\x00\xff", [{"key": "h", "value": None}], 77)
    assert (record.key, record.timestamp_ms) == (b"k", 5)


def test_many_letters_take_several_batches() -> None:
    letters = [a_letter(offset=i, value=bytes(i % 900)) for i in range(5_000)]
    batches = encode_dead_letters(letters)
    assert len(batches) > 1
    assert [letter.offset for letter in decode_dead_letters(stored(batches))] == list(range(5_000))
    assert [letter.offset for letter in decode_dead_letters(stored(batches), first_offset=4_990)] == list(
        range(4_990, 5_000)
    )


def test_a_record_that_just_fitted_its_topic_is_kept_whole() -> None:
    value = bytes(1_000_000)
    (letter,) = decode_dead_letters(stored(encode_dead_letters([a_letter(value=value)])))
    assert letter.value == value


@pytest.mark.parametrize(
    "fields",
    [
        {"value": bytes(2_000_000)},
        {"key": bytes(600_000), "value": bytes(600_000)},
        {"item": "ß" * 900_000},
        {"headers": (("h", bytes(1_100_000)),)},
    ],
)
def test_what_no_record_can_hold_is_cut_and_says_so(fields: dict[str, object]) -> None:
    kept = a_letter(offset=1)
    found = decode_dead_letters(stored(encode_dead_letters([kept, a_letter(**fields), kept])))
    assert [f.offset for f in found] == [1, 77, 1]
    assert "cut to fit a record" in found[1].message
    assert "shop.orders/2 offset 77" in found[1].message
    assert all(name in found[1].message for name in fields)
    assert found[1].code == "bad_cast"


def test_the_batch_bound_leaves_room_for_the_header() -> None:
    batches = encode_dead_letters([a_letter(value=bytes(300_000)) for _ in range(20)])
    assert max(len(b.body) for b in batches) < RECORD_BYTES_MAX < 2**20


@pytest.mark.parametrize("limit", [4_000, 100_000])
def test_a_topic_that_takes_little_gets_less_of_a_letter(limit: int) -> None:
    letter = a_letter(value=bytes(limit), key=bytes(limit), message="m" * 3_000)
    batches = encode_dead_letters([letter], size_bytes_max=limit)
    assert sum(len(b.body) for b in batches) < limit
    (found,) = decode_dead_letters(stored(batches))
    assert found.cut
    assert len(found.value or b"") == min(16 << 10, limit // 8)
    assert f"key of {limit} bytes, value of {limit} bytes" in found.message


def test_a_long_message_is_shortened() -> None:
    (letter,) = decode_dead_letters(stored(encode_dead_letters([a_letter(message="x" * 10_000)])))
    assert len(letter.message) == MESSAGE_CHARS_MAX
    assert letter.message.endswith("…")


def test_text_that_utf8_cannot_hold_is_spelt_out() -> None:
    (letter,) = decode_dead_letters(stored(encode_dead_letters([a_letter(message="half \ud83d")])))
    assert letter.message == "half \\ud83d"


def test_a_record_that_is_no_dead_letter_is_refused() -> None:
    foreign = as_read(from_records([Record(0, 1, None, b"\xff\xff\xff", [])]), base_offset=9)
    with pytest.raises(CodecError, match="offset 9 is no dead letter"):
        decode_dead_letters([foreign])
