"""host/compressors/logcodes.py: values as logarithms of their reciprocals."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from estimates import check_unbiased, check_variance
from log_levels import spread_of
from numpy.typing import NDArray

from host.compressors.logcodes import (
    BLOCK,
    LARGEST_THRESHOLD,
    NEGATIVE,
    LogCodes,
    Places,
    encode_any_base,
)
from host.compressors.quantize import random_key

KEY = random_key(1, 2, 3)
BASES = [2.0, 1.5, 1.1, 1.01, math.sqrt(2), 3.0, 4.0, 16.0]
Vector = NDArray[np.float32]
Encode = Callable[[Vector, int], NDArray[np.uint8]]

every_base = pytest.mark.parametrize("base", BASES)


def log_codes(
    base: float = 2.0,
    threshold: int | None = None,
    *,
    random: bool = False,
    dense: bool = False,
) -> LogCodes:
    if threshold is None:  # as many as there may be, or down to 10^-6
        threshold = min(LARGEST_THRESHOLD, int(6 / math.log10(base)))
    return LogCodes(base, threshold, random, dense)


def spread(size: int = 100_000, seed: int = 0, least: float = -8) -> Vector:
    """Of both signs and many magnitudes, up to 1."""
    chance = np.random.default_rng(seed)
    magnitudes = 10.0 ** chance.uniform(least, 0, size)
    return (magnitudes * chance.choice([-1, 1], size)).astype(np.float32)


def decoded(codes: NDArray[np.uint8], log: LogCodes, exponent: int = 0) -> Vector:
    return log.values(exponent)[codes].astype(np.float32)


# the reconstruction's golden values, base 2 and M = 1


@pytest.mark.parametrize(
    ("value", "p", "back"),
    [
        *((0.9, 0, 1.0), (0.5, 1, 0.5), (0.3, 2, 0.25), (0.1, 3, 0.125)),
        *((-0.07, 4, -0.0625), (0.01, 7, 2.0**-7), (1e-3, 10, 2.0**-10)),
        (3e-5, 15, 3.0517578125e-05),
    ],
)
def test_golden_values(value: float, p: int, back: float) -> None:
    log = log_codes(threshold=20)
    (code,) = log.encode(np.array([value], np.float32), 0, KEY)
    assert code == (20 + 1 - p) | (NEGATIVE if value < 0 else 0)
    assert log.values(0)[code] == back


def test_base_2_has_the_levels_of_nuqsgd_with_4_bits() -> None:
    table = LogCodes(2.0, 6, random=True, dense=True, table_bits=6).table
    levels = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    np.testing.assert_array_equal(table[:8], levels)
    np.testing.assert_array_equal(table[NEGATIVE : NEGATIVE + 8], -levels)
    assert np.count_nonzero(table) == 14


# deterministic rounding


@every_base
def test_deterministic_is_the_nearest_logarithm(base: float) -> None:
    log, vector = log_codes(base), spread()
    exact = -np.log(np.abs(vector.astype(np.float64))) / math.log(base)
    expected = np.where(exact > log.threshold + 0.5, 0, log.threshold + 1 - exact)
    codes = log.encode(vector, 0, KEY)
    sure = np.abs(exact - np.floor(exact) - 0.5) > 1e-9
    np.testing.assert_array_equal(
        (codes & 127)[sure], np.rint(expected[sure]).astype(np.uint8)
    )
    np.testing.assert_array_equal((codes & NEGATIVE > 0), (vector < 0) & (codes > 0))


@every_base
def test_the_nearest_level_errs_by_at_most_sqrt_b_less_1(base: float) -> None:
    """And it comes close to that: the bound is none of something else."""
    log, vector = log_codes(base), spread()
    codes = log.encode(vector, 0, KEY)
    kept = codes > 0
    error = np.abs(decoded(codes, log)[kept] / vector[kept] - 1).max()
    bound = math.sqrt(base) - 1
    assert 0.98 * bound < error <= bound + 1e-6


def test_a_float_beside_a_boundary_goes_to_its_side() -> None:
    """p changes between two neighbouring floats, at sqrt(2) times a power of two."""
    log = log_codes(threshold=100)
    for p in (0, 1, 30, 99):
        boundary = np.float32(math.sqrt(2) * 2.0 ** (-p - 1))
        below = np.nextafter(boundary, np.float32(0))
        above = np.nextafter(boundary, np.float32(1))
        codes = log.encode(np.array([below, above], np.float32), 0, KEY)
        assert (100 + 1 - codes.astype(int)).tolist() == [p + 1, p]


def test_a_tie_goes_to_the_larger_magnitude() -> None:
    log = log_codes(4.0, 5)  # the logarithm of 2, 1/2 and 1/8 lies half-way
    codes = log.encode(np.array([2, 0.5, 0.125], np.float32), 1, KEY)
    assert (6 - codes.astype(int)).tolist() == [0, 1, 2]


# random rounding: tests that a broken coder does not pass


STEPS = 4000


def estimates(encode: Encode, log: LogCodes, vector: Vector) -> NDArray[np.float64]:
    """[STEPS, d] what the vector is decoded to, in every step with other coins."""
    values = log.values(0)
    return np.array([values[encode(vector, step)] for step in range(STEPS)])


@pytest.mark.parametrize("base", [2.0, 1.5, 1.1, 3.0])
def test_random_rounding_of_dense_codes_is_unbiased(base: float) -> None:
    """Also under the last level (0.15 for base 1.1), and as precise as can be."""
    log, vector = log_codes(base, 20, random=True, dense=True), spread(200, least=-4)
    drawn = estimates(
        lambda vector, step: log.encode(vector, 0, random_key(0, 0, step)), log, vector
    )
    variance, jump = spread_of(vector, log)
    check_unbiased(drawn, vector.astype(np.float64), variance, jump)
    check_variance(drawn, vector.astype(np.float64), variance)


def broken(name: str, log: LogCodes) -> Encode:
    """A coder with a mistake."""

    def encode(vector: Vector, step: int) -> NDArray[np.uint8]:
        key = random_key(0, 0, step)
        if name == "nearest":
            return LogCodes(log.base, log.threshold, False, True).encode(vector, 0, key)
        if name == "filtered":
            return LogCodes(log.base, log.threshold, True, False).encode(vector, 0, key)
        if name == "scaled":
            return log.encode(vector * np.float32(1.01), 0, key)
        if name == "another base":
            return LogCodes(1.99, log.threshold, True, True).encode(vector, 0, key)
        assert name == "one coin for all steps"
        return log.encode(vector, 0, KEY)

    return encode


@pytest.mark.parametrize(
    "name",
    ["nearest", "filtered", "scaled", "another base", "one coin for all steps"],
)
def test_a_broken_coder_does_not_look_unbiased(name: str) -> None:
    log, vector = log_codes(2.0, 8, random=True, dense=True), spread(200, least=-4)
    drawn = estimates(broken(name, log), log, vector)
    with pytest.raises(AssertionError, match="off"):
        check_unbiased(drawn, vector.astype(np.float64), *spread_of(vector, log))


@every_base
def test_the_variance_is_at_most_that_of_the_bound(base: float) -> None:
    """(b - 1)^2 / (4 b) of v^2, and for some v not much less."""
    log = log_codes(base, 2, random=True)
    vector = np.repeat(
        np.geomspace(1, 1 / base, 21).astype(np.float32), 20_000
    )  # between the two largest levels
    back = decoded(log.encode(vector, 0, KEY), log).astype(np.float64)
    errors = (back / vector - 1).reshape(21, -1)
    bound = (base - 1) ** 2 / (4 * base)
    assert (errors**2).mean(axis=1).max() < 1.05 * bound
    assert (errors**2).mean(axis=1).max() > 0.9 * bound
    assert (np.abs(errors.mean(axis=1)) < 5 * np.sqrt(bound / 20_000)).all()


@every_base
@pytest.mark.parametrize("random", [False, True])
def test_what_is_dropped_has_little_mass(base: float, random: bool) -> None:
    """At most M^2 b^(-2 tau - 1) an element; rounded at random, M^2 b^(-2 tau)."""
    log, vector = log_codes(base, 5, random=random), spread()
    dropped = vector[log.encode(vector, 0, KEY) == 0].astype(np.float64)
    most = base ** (-2 * 5 - (0 if random else 1))
    assert 0.8 * most < (dropped**2).max() < most * (1 + 1e-6)


@every_base
def test_levels_stay_what_they_are(base: float) -> None:
    log = log_codes(base, random=True, dense=True)
    levels = log.levels[1:].astype(np.float32)
    off = levels.astype(np.float64) / log.levels[1:] - 1
    for step in range(20):
        codes = log.encode(levels, 0, random_key(0, 0, step))
        same = codes == np.arange(1, len(levels) + 1)
        assert same[off == 0].all()
        assert same.mean() > 0.9


# one data path for base 2, another for any base


def encode_by(
    places: Places,
    vector: Vector,
    codes: NDArray[np.uint8],
    exponent: int,
    random: bool,
) -> None:
    scale, room = np.int32(exponent << 23), np.empty(BLOCK, np.int64)
    encode_any_base(vector.view(np.int32), codes, scale, places, random, KEY, room)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    ("threshold", "exponent"), [(14, 0), (6, 5), (126, 0), (0, -9)]
)
def test_both_kernels_agree_for_base_2(
    random: bool, dense: bool, threshold: int, exponent: int
) -> None:
    log = log_codes(threshold=threshold, random=random, dense=dense)
    vector = spread(50_000, least=-38) * np.float32(2.0**exponent)
    other = np.empty(len(vector), np.uint8)
    encode_by(log.places, vector, other, exponent, random)
    np.testing.assert_array_equal(log.encode(vector, exponent, KEY), other)


@pytest.mark.parametrize("base", [1.01, 1.3, 3.0])
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("off", [-2.6, 0.4, 70.0])
def test_wrong_guesses_are_corrected(
    base: float, random: bool, dense: bool, off: float
) -> None:
    log, vector = log_codes(base, 60, random=random, dense=dense), spread(9_000)
    codes = log.encode(vector, 0, KEY)
    assert 30 < len(np.unique(codes)) < 124
    other = np.empty(len(vector), np.uint8)
    places = log.places._replace(offset=np.float32(log.places.offset + off))
    encode_by(places, vector, other, 0, random)
    np.testing.assert_array_equal(codes, other)


@pytest.mark.parametrize("base", [2.0, 1.3])
@pytest.mark.parametrize("random", [False, True])
def test_a_power_of_two_for_m_changes_nothing_else(base: float, random: bool) -> None:
    log, vector = log_codes(base, random=random), spread()
    codes = log.encode(vector, 0, KEY)
    for exponent in (-60, -1, 1, 90):
        scaled = np.ldexp(vector, exponent)
        np.testing.assert_array_equal(log.encode(scaled, exponent, KEY), codes)
        np.testing.assert_array_equal(
            log.values(exponent), np.ldexp(log.values(0), exponent)
        )


# the ends of the range


@pytest.mark.parametrize("base", [2.0, 1.5])
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_zeros_and_denormals_are_absent(base: float, random: bool, dense: bool) -> None:
    log = log_codes(base, random=random, dense=dense)
    vector = np.array([0.0, -0.0, 1e-45, -1e-39, 1.17e-38], np.float32)
    for exponent in (-126, -95, 0, 100):
        assert not log.encode(vector, exponent, KEY).any()


@pytest.mark.parametrize("base", [2.0, 1.5, 16.0])
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_what_is_beyond_m_becomes_m(base: float, random: bool, dense: bool) -> None:
    threshold = 30 if base == 16.0 else 126
    log = log_codes(base, threshold, random=random, dense=dense)
    vector = np.array([1, 1.001, 2, 8, -1e10, 3.4e38, -3.4e38], np.float32)
    back = decoded(log.encode(vector, 0, KEY), log)
    assert back.tolist() == [1, 1, 1, 1, -1, 1, -1]


def test_no_element_and_one() -> None:
    assert len(log_codes().encode(np.zeros(0, np.float32), 0, KEY)) == 0
    assert log_codes(threshold=3).encode(np.ones(1, np.float32), 0, KEY) == [4]


def test_one_level_is_a_sign() -> None:
    log = log_codes(threshold=0)
    vector = np.array([0.8, -0.9, 0.7, -0.1], np.float32)
    assert log.encode(vector, 0, KEY).tolist() == [1, NEGATIVE | 1, 0, 0]


# tables


@pytest.mark.parametrize(("base", "threshold"), [(1.5, 8), (1.1, 20), (3.0, 4)])
def test_levels_of_a_table_are_what_the_switch_adds(
    base: float, threshold: int
) -> None:
    """Random rounding is unbiased for them, not for the powers beside them."""
    log = LogCodes(base, threshold, True, True, table_bits=8)
    exact = [round(2**8 * base**-p) for p in range(threshold, -1, -1)]
    assert log.table[1 : threshold + 2].tolist() == exact
    np.testing.assert_array_equal(log.levels[1:] * 256, exact)
    vector = np.full(200_000, 0.9 * log.levels[3] + 0.1 * log.levels[4], np.float32)
    integers = log.table[log.encode(vector, 0, KEY)]
    mean, deviation = integers.mean() / 256, integers.std() / 256
    assert set(integers.tolist()) == {exact[2], exact[3]}
    assert abs(mean - vector[0]) < 5 * deviation / math.sqrt(len(vector))


@pytest.mark.parametrize(
    ("base", "threshold", "text"),
    [
        (1.0, 5, r"base is 1.0: must be 1.01 to 16.0"),
        (17.0, 5, "base is 17.0"),
        (math.nan, 5, "base is nan"),
        (2.0, -1, "threshold is -1: must be 0 to 126"),
        (2.0, 127, "threshold is 127: must be 0 to 126"),
        (4.0, 64, "threshold is 64: must be 0 to 63 for base 4.0"),
    ],
)
def test_wrong_codes_are_refused(base: float, threshold: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LogCodes(base, threshold, False, False)


def test_levels_that_are_the_same_integer_are_refused() -> None:
    LogCodes(1.5, 6, False, False, table_bits=4)
    with pytest.raises(ValueError, match="the same integer, or 0, where"):
        LogCodes(1.5, 6, False, False, table_bits=3)
    with pytest.raises(ValueError, match="the same integer"):
        LogCodes(2.0, 5, False, False, table_bits=4)


# the same functions, uncompiled

UNCOMPILED = """
import sys
from host.compressors.logcodes import encode_base_2
from test_logcodes import all_codes
assert not hasattr(encode_base_2, "py_func"), "a compiled kernel"
sys.stdout.write(all_codes())
"""


def all_codes() -> str:
    """Of one vector, in every way, as hex digits."""
    vector = np.append(spread(300), np.array([0, 1e-40, 3e38, -1], np.float32))
    return "\n".join(
        log_codes(base, 20, random=random, dense=dense)
        .encode(vector, 0, KEY)
        .tobytes()
        .hex()
        for base in (2.0, 1.3)
        for random in (False, True)
        for dense in (False, True)
    )


def test_compiled_and_uncompiled_agree() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNCOMPILED],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == all_codes()
