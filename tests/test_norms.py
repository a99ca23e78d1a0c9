"""host/compressors/norms.py: exponents and norms."""

import math

import numpy as np
import pytest

from host.compressors.norms import block_exponents, squared_norm
from host.compressors.quantize import NON_FINITE
from switch.protocol import NO_EXPONENT


def exponent(*elements: float) -> int:
    vector = np.array(elements, np.float32)
    return int(block_exponents(vector, np.array([len(vector)]))[0])


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


def test_every_block_has_its_own() -> None:
    vector = np.array([1, 2, 4, 8, 0], np.float32)
    ends = np.array([1, 1, 4, 5])
    assert block_exponents(vector, ends).tolist() == [1, NO_EXPONENT, 4, NO_EXPONENT]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_squared_norm_is_as_exact_as_float64(size: int) -> None:
    vector = np.random.default_rng(size).normal(size=size).astype(np.float32)
    exact = math.fsum(float(x) * float(x) for x in vector)
    assert squared_norm(vector) == pytest.approx(exact, rel=1e-14)


def test_squared_norm_has_one_order() -> None:
    """64 running sums, added up from the first: pinned, so that all workers agree."""
    vector = 10 ** np.random.default_rng(7).uniform(-5, 5, 333).astype(np.float32)
    sums = [0.0] * 64
    for i, x in enumerate(vector.tolist()):
        sums[i % 64] += x * x
    total = 0.0
    for partial in sums:
        total += partial
    assert squared_norm(vector) == total
