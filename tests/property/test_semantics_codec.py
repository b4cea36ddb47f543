"""Columnar codec (DESIGN 12, point 13): `length`, `valueLength` and header count of every row are checked.

Method: record batches that lie in those fields in ways that leave everything else in step, so that a native read alone
would take them. The columnar path must give what the slow path gives: the same rows, the same bad records. (Random
damage and all Avro types are in `test_codecs.py`.)
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs import CodecSpec, Decoded, decoder, few_records
from streamflow.codecs.decoding import BatchDecoder
from streamflow.codecs.recordbatch import Record, as_read, from_records
from streamflow.model.types import LONG, STRING, record_of
from streamflow.sdk.log import NewBatch, RecordBatch
from tests.property.columns import in_columns

__all__ = ["in_columns"]

SPEC = CodecSpec(format="avro", schema=record_of({"n": LONG, "s": STRING}), name="Pair")
# Of a record without key whose numbers all fit one byte: where its fields stand.
LENGTH, ATTRIBUTES, KEY_LENGTH, VALUE_LENGTH, N = 0, 1, 4, 5, 6
ONE = 2  # the varint of 1


def lying(lie: str, numbers: list[int], first: int, second: int) -> RecordBatch:
    """A batch of pairs in which the records `first` and `second` lie."""
    parts = []
    for i, n in enumerate(numbers):
        value = bytes([2 * n, 2 * 3]) + b"abc"
        part = bytearray(from_records([Record(0, 0, None, value, [])]).body)
        part[3] = 2 * i  # offset delta
        parts.append(part)
    a, b = parts[first], parts[second]
    match lie:
        case "length":  # one takes a byte more than it has, another one less: the whole still adds up
            a[LENGTH] += ONE
            b[LENGTH] -= ONE
        case "value length":
            a[VALUE_LENGTH] += ONE
            b[VALUE_LENGTH] -= ONE
        case "header count":  # headers are announced that are not there
            a[-1] = ONE
        case "attributes":
            b[ATTRIBUTES] = ONE
        case "key length":  # an empty key stands where the others have none
            a[KEY_LENGTH] = 0
    new = NewBatch(count=len(parts), body=b"".join(parts), base_timestamp_ms=0, max_timestamp_ms=0)
    return as_read(new)


def seen(decoded: Decoded) -> Any:
    bad = [(b.offset, b.key, b.value, b.code) for b in decoded.bad]
    return decoded.frame.rows(named=True), bad, decoded.end_offset


class _Slow:
    """Native reads switched off."""

    def __enter__(self) -> None:
        self._native = BatchDecoder._native_node
        BatchDecoder._native_node = lambda _self, _looks: None  # type: ignore[method-assign,assignment]

    def __exit__(self, *_: object) -> None:
        BatchDecoder._native_node = self._native  # type: ignore[method-assign]


@pytest.mark.parametrize("lie", ["none", "length", "value length", "header count", "attributes", "key length"])
def test_a_lie_in_the_envelope_is_seen(lie: str) -> None:
    @given(st.lists(st.integers(0, 31), min_size=2, max_size=9), st.data())
    def test(numbers: list[int], data: st.DataObject) -> None:
        first = data.draw(st.integers(0, len(numbers) - 1))
        second = data.draw(st.integers(0, len(numbers) - 1).filter(lambda i: i != first))
        batch = lying(lie, numbers, first, second)
        with _Slow():
            expected = decoder(SPEC).decode([batch], first_offset=0)
        found = decoder(SPEC).decode([batch], first_offset=0)
        assert seen(found) == seen(expected)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(few_records, "FEW", len(numbers))
            assert seen(decoder(SPEC).decode([batch], first_offset=0)) == seen(expected)
        if lie in ("length", "value length", "header count"):
            assert found.bad

    test()
