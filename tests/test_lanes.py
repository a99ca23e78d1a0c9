"""Element arithmetic against plain integers, at lengths at which loops are vectors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from switch import lanes
from switch.protocol import ElementType, Overflow, Reduction
from switch.tables import JOB

TYPES = {
    ElementType.INT8: np.int8,
    ElementType.INT16: np.int16,
    ElementType.INT32: np.int32,
}
PAIRS = [(a, b) for a in TYPES for b in TYPES if a <= b]
RESERVED = 0xA5  # shows up wherever a byte was not written
NO_CODES = np.zeros(1, JOB).view(np.recarray)[0]
LENGTHS = [1, 2, 15, 16, 17, 64, 255, 256, 300]


def elements(element_type: ElementType, length: int, seed: int) -> NDArray[Any]:
    """Any integers of the type, its extremes among them, as int64."""
    info = np.iinfo(TYPES[element_type])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(info.min, info.max, length, endpoint=True)
    extremes = rng.choice([info.min, info.max, 0, -1], length)
    return np.where(rng.random(length) < 0.3, extremes, drawn)


def payload_of(values: NDArray[Any], element_type: ElementType) -> NDArray[np.uint8]:
    big_endian = np.dtype(TYPES[element_type]).newbyteorder(">")
    return np.frombuffer(values.astype(big_endian).tobytes(), np.uint8)


def reduced(
    first: NDArray[Any], second: NDArray[Any], reduction: Reduction, policy: Overflow,
    dtype: type,
) -> tuple[NDArray[Any], bool]:  # fmt: skip
    """What both come to, in int64, and whether an overflow is to be flagged."""
    if reduction == Reduction.MAX:
        return np.maximum(first, second), False
    if reduction == Reduction.OR:
        return first | second, False
    total, info = first + second, np.iinfo(dtype)
    outside = bool(np.any((total < info.min) | (total > info.max)))
    if policy == Overflow.SATURATE:
        return np.clip(total, info.min, info.max), False
    wrapped = total.astype(dtype).astype(np.int64)
    return wrapped, outside and policy == Overflow.DETECT


@pytest.mark.parametrize(("element_type", "result_type"), PAIRS)
@settings(max_examples=60, deadline=None)
@given(
    reduction=st.sampled_from(Reduction),
    policy=st.sampled_from(Overflow),
    length=st.sampled_from(LENGTHS),
    seed=st.integers(0, 2**32),
)
def test_write_then_reduce(
    element_type: ElementType,
    result_type: ElementType,
    reduction: Reduction,
    policy: Overflow,
    length: int,
    seed: int,
) -> None:
    dtype = TYPES[result_type]
    values, scratch = np.zeros((2, length), dtype)
    first = elements(element_type, length, seed)
    second = elements(element_type, length, seed + 1)

    def absorb(some: NDArray[Any], is_first: bool) -> bool:
        payload = payload_of(some, element_type)
        return lanes.absorb(
            values,
            scratch,
            payload,
            element_type,
            NO_CODES,
            reduction,
            policy,
            is_first,
        )

    assert not absorb(first, True)
    assert np.array_equal(values, first)
    flagged = absorb(second, False)
    expected, overflowed = reduced(first, second, reduction, policy, dtype)
    assert values.tolist() == expected.tolist()
    assert flagged == overflowed


@pytest.mark.parametrize("result_type", TYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_store_is_big_endian(result_type: ElementType, length: int) -> None:
    values = elements(result_type, length, seed=length).astype(TYPES[result_type])
    width = values.nbytes
    buffer = np.full(width + 4, RESERVED, np.uint8)
    lanes.store(buffer[:width], values.view(np.uint8), result_type)
    assert np.array_equal(buffer[:width], payload_of(values, result_type))
    assert np.all(buffer[width:] == RESERVED)


@pytest.mark.parametrize("lane", [*range(0, 256, 7), 255])
def test_one_lane_beyond_the_range_is_enough(lane: int) -> None:
    first, second = np.zeros((2, 256), np.int64)
    first[lane], second[lane] = 127, 1
    values, scratch = first.astype(np.int8), np.zeros(256, np.int8)
    payload = payload_of(second, ElementType.INT8)
    kinds = ElementType.INT8, NO_CODES, Reduction.SUM, Overflow.DETECT
    assert lanes.absorb(values, scratch, payload, *kinds, False)
    assert values[lane] == -128


@pytest.mark.parametrize("element_type", TYPES)
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_payloads_need_no_alignment(element_type: ElementType, shift: int) -> None:
    """In a batch, packets follow each other at any offset."""
    values, scratch = np.zeros((2, 300), np.int32)
    first, second = (elements(element_type, 300, seed) // 2 for seed in (1, 2))
    for some in (first, second):
        payload = payload_of(some, element_type)
        buffer = np.full(shift + payload.size, RESERVED, np.uint8)
        buffer[shift:] = payload
        kinds = element_type, NO_CODES, Reduction.SUM, Overflow.DETECT
        is_first = some is first
        lanes.absorb(values, scratch, buffer[shift:], *kinds, is_first)
    assert values.tolist() == (first + second).tolist()


def test_the_alarm_stays_though_the_total_is_right() -> None:
    """Partial sums of 200 and 100: what wraps once may come back."""
    values, scratch = np.zeros((2, 1), np.int8)
    kinds = ElementType.INT8, NO_CODES, Reduction.SUM, Overflow.DETECT
    flags = []
    for number in (100, 100, -100):
        payload = payload_of(np.array([number]), ElementType.INT8)
        flags.append(lanes.absorb(values, scratch, payload, *kinds, not flags))
    assert flags == [False, True, True]
    assert values.tolist() == [100]
