"""host/compressors/norms.py: exponents and norms."""

import math

import numpy as np
import pytest

from host.compressors.norms import (
    NORMS,
    block_ends,
    block_norms,
    exponents_of,
    squared_norm,
)
from host.compressors.quantize import INFINITY_BITS, NON_FINITE
from switch.protocol import NO_EXPONENT


def exponent(*elements: float) -> int:
    vector = np.array(elements, np.float32)
    return int(exponents_of(block_norms(vector, np.array([len(vector)]), "linf"))[0])


@pytest.mark.parametrize("value", [1.0, 0.99, 2.0, 1e-20, 3e37, 2.0**-126, 1.5e-30])
def test_exponent_is_the_least_power_above(value: float) -> None:
    e = exponent(0.0, -value, value / 2)
    assert 2.0 ** (e - 1) <= np.float32(value) < 2.0**e


def test_exponents_without_a_power() -> None:
    assert exponent(0.0, -0.0) == NO_EXPONENT
    assert exponent(1.0, math.nan) == NON_FINITE
    assert exponent(-math.inf) == NON_FINITE
    assert exponent() == NO_EXPONENT


def test_exponent_is_clamped_at_both_ends() -> None:
    assert exponent(1e-45) == -126  # a denormal
    assert exponent(3.4e38) == 126


@pytest.mark.parametrize(
    ("elements", "size", "ends"),
    [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 3, [2]), (1, 1, [1]), (5, 10**30, [5])],
)
def test_ends_of_blocks(elements: int, size: int, ends: list[int]) -> None:
    found = block_ends(elements, size)
    assert (found.tolist(), found.dtype) == (ends, np.int64)


def test_every_block_has_its_own() -> None:
    vector = np.array([1, 2, 4, 8, 0], np.float32)
    ends = np.array([1, 1, 4, 5])
    found = exponents_of(block_norms(vector, ends, "linf"))
    assert found.tolist() == [1, NO_EXPONENT, 4, NO_EXPONENT]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_squared_norm_is_as_exact_as_float64(size: int) -> None:
    vector = np.random.default_rng(size).normal(size=size).astype(np.float32)
    exact = math.fsum(float(x) * float(x) for x in vector)
    assert squared_norm(vector) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("size", [333, 4096, 10_000])
def test_squared_norm_has_one_order(size: int) -> None:
    """Of each 4096, 64 running sums, added up from the first: pinned, so that all
    workers agree."""
    vector = 10 ** np.random.default_rng(7).uniform(-5, 5, size).astype(np.float32)
    total = 0.0
    for start in range(0, size, 4096):
        sums = [0.0] * 64
        for i, x in enumerate(vector[start : start + 4096].tolist()):
            sums[i % 64] += x * x
        part = 0.0
        for partial in sums:
            part += partial
        total += part
    assert squared_norm(vector) == total


def norm_of(*elements: float, norm: str = "l2") -> float:
    vector = np.array(elements, np.float32)
    bits = block_norms(vector, np.array([len(vector)]), norm)
    return float(bits.view(np.float32)[0])


def test_norms_of_blocks() -> None:
    assert norm_of(3.0, -4.0) == 5.0
    assert norm_of(3.0, -4.0, norm="linf") == 4.0
    assert norm_of() == norm_of(0.0, -0.0) == 0.0
    vector = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    ends = np.array([300, 300, 1000])
    norms = block_norms(vector, ends, "l2").view(np.float32)
    expected = [np.linalg.norm(vector[:300]), 0, np.linalg.norm(vector[300:])]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_no_element_is_larger_than_its_norm(norm: str) -> None:
    """Down to denormals; and the norm of one element is its magnitude."""
    bits = np.random.default_rng(0).integers(0, 0x7E800001, 3000, dtype=np.int32)
    vector = bits.view(np.float32)
    ends = np.arange(3, 3001, 3)
    norms = block_norms(vector, ends, norm).view(np.float32)
    assert (vector.reshape(-1, 3).max(axis=1) <= norms).all()
    alone = block_norms(-vector, np.arange(1, 3001), norm)
    np.testing.assert_array_equal(alone, bits)


@pytest.mark.parametrize("norm", NORMS)
def test_norms_end_at_2_126_and_tell_what_is_not_finite(norm: str) -> None:
    assert norm_of(3e38, 3e38, norm=norm) == 2.0**126
    for bad in (math.nan, math.inf, -math.inf):
        vector = np.array([1, bad], np.float32)
        assert block_norms(vector, np.array([2]), norm)[0] >= INFINITY_BITS


def test_exponents_of_norms() -> None:
    vector = np.array([0, 1, 2, -3.9, 1e-45, 3e38, math.nan], np.float32)
    exponents = exponents_of(block_norms(vector, np.arange(1, 8), "l2"))
    assert exponents.tolist() == [NO_EXPONENT, 1, 2, 2, -126, 126, NON_FINITE]
