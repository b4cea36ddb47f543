"""murmur2 over columns against Kafka's own test vectors and against aiokafka's partitioner."""

import numpy as np
import polars as pl
import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_one
from hypothesis import given
from hypothesis import strategies as st

from streamflow.operators.partition import murmur2, partition_for

# From org.apache.kafka.common.utils.UtilsTest.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def column(keys: list[bytes | None]) -> pl.Series:
    return pl.Series(keys, dtype=pl.Binary)


def expected(keys: list[bytes]) -> list[int]:
    return [int(np.uint32(murmur2_of_one(k) & 0xFFFFFFFF).astype(np.int32)) for k in keys]


def test_kafkas_own_vectors() -> None:
    assert murmur2(column(list(VECTORS))).tolist() == list(VECTORS.values())


@pytest.mark.parametrize("key", VECTORS)
def test_a_vector_alone(key: bytes) -> None:
    assert murmur2(column([key])).tolist() == [VECTORS[key]]


@given(st.lists(st.binary(max_size=40) | st.binary(min_size=60, max_size=80), max_size=60))
def test_equal_to_aiokafka_for_any_keys(keys: list[bytes]) -> None:
    assert murmur2(column(keys)).tolist() == expected(keys)


@given(st.lists(st.binary(min_size=9, max_size=9), min_size=20, max_size=40))
def test_equal_to_aiokafka_when_all_keys_are_of_one_length(keys: list[bytes]) -> None:
    assert murmur2(column(keys)).tolist() == expected(keys)


def test_a_few_very_long_keys_among_many_short_ones() -> None:
    random = np.random.default_rng(7)
    lengths = [0, 1, 2, 3, 4, 5] * 40 + [5000, 100_003, 4096]
    keys = [random.bytes(n) for n in lengths]
    assert murmur2(column(keys)).tolist() == expected(keys)


def test_a_slice_of_a_chunked_column() -> None:
    keys = [str(i).encode() * (i % 5) for i in range(100)]
    chunked = pl.concat([column(keys[:30]), column(keys[30:])], rechunk=False)
    assert murmur2(chunked.slice(7, 60)).tolist() == expected(keys[7:67])


@given(st.lists(st.binary(max_size=20), max_size=30), st.integers(min_value=1, max_value=1000))
def test_partition_is_java_to_positive_modulo(keys: list[bytes], count: int) -> None:
    assert partition_for(column(keys), count).tolist() == [(murmur2_of_one(k) & 0x7FFFFFFF) % count for k in keys]


def test_null_keys_go_where_the_caller_says() -> None:
    keys = column([b"21", None, b"foobar", None])
    chosen = np.array([9, 2, 9, 3])
    placed = partition_for(keys, 4, default=chosen).tolist()
    assert placed[1::2] == [2, 3]
    assert placed[0::2] == [(VECTORS[k] & 0x7FFFFFFF) % 4 for k in (b"21", b"foobar")]
    assert partition_for(keys, 4, default=1).tolist()[1::2] == [1, 1]


def test_no_keys() -> None:
    assert partition_for(column([]), 3).tolist() == []
