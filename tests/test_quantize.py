"""host/compressors/quantize.py: what goes onto the wire, and what comes back."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from quantizing import drained, filled, integers_of, stream_of

from host.compressors.integers import IntegerFormat, integer_format
from host.compressors.quantize import (
    LARGEST_SUM,
    NON_FINITE,
    float_at_most,
    random_key,
    uniform,
)
from host.compressors.stream import ScaledSum
from switch.protocol import NO_EXPONENT, Flag

INT8, INT16, INT32 = (integer_format(f"int{bits}", None) for bits in (8, 16, 32))
FORMATS = [INT8, INT16, INT32, integer_format("int8", "int32")]
IDS = ["int8", "int16", "int32", "int8 up, int32 down"]
KEY = random_key(1, 2, 3)

PINNED_KEY = [956087953, 595752380]
PINNED_INTEGERS = [
    *(-2, -2, -1, -2, -1, -1, -1, -1, -1, -1, 0, -1, -1, -1, 0, 0),
    *(0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 2, 2, 1, 2, 2, 2),
]

every_format = pytest.mark.parametrize("form", FORMATS, ids=IDS)


def gaussian(size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def rounded(
    vector: NDArray[np.float32], step: int = 0, worker: int = 0, scale: float = 1.0
) -> NDArray[np.int64]:
    """Random rounding to int32."""
    key = random_key(0, worker, step)
    stream = stream_of(vector, INT32, key=key, scale=scale, slot_bytes=4096)
    return integers_of(stream)[: len(vector)]


# deterministic rounding, byte order, padding


@every_format
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_deterministic_is_numpys_rint(form: IntegerFormat, size: int) -> None:
    vector = gaussian(size) * 10
    stream = stream_of(vector, form, scale=1.7, num_workers=3)
    expected = np.zeros(stream.num_chunks * stream.elements_per_chunk)
    bound = form.clip_bound(3)
    expected[:size] = np.clip(np.rint(vector * np.float32(1.7)), -bound, bound)
    np.testing.assert_array_equal(integers_of(stream), expected)


def test_ties_go_to_the_even_integer() -> None:
    vector = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
    assert integers_of(stream_of(vector, INT8))[:6].tolist() == [0, 2, 2, 0, -2, -2]


@every_format
def test_no_byte_of_a_row_is_left_as_it_was(form: IntegerFormat) -> None:
    stream = stream_of(np.zeros(5, np.float32), form, key=KEY)
    assert not filled(stream).payload.any()


# random rounding


def test_integers_stay_what_they_are() -> None:
    vector = np.arange(-2000, 2000, dtype=np.float32)
    for step in range(5):
        np.testing.assert_array_equal(rounded(vector, step), vector)
    large = np.array([2**23, 2**24 + 2, -(2**30), 2**23 + 1], np.float32)
    np.testing.assert_array_equal(rounded(large), large)


@pytest.mark.parametrize("x", [0.01, 0.25, 0.5, 0.9, -0.3, -7.75, 100.125])
def test_random_rounding_is_unbiased_with_variance_f_1_minus_f(x: float) -> None:
    size = 400_000
    x32 = float(np.float32(x))
    integers = rounded(np.full(size, x, np.float32))
    assert set(integers.tolist()) == {math.floor(x32), math.floor(x32) + 1}
    variance = (x32 - math.floor(x32)) * (math.ceil(x32) - x32)
    bias = integers.mean() - x32
    assert abs(bias) < 5 * math.sqrt(variance / size)
    assert integers.var() == pytest.approx(variance, rel=0.05)
    assert variance <= 1 / 4


def test_every_element_is_unbiased_over_the_steps() -> None:
    vector, steps = gaussian(50), 2000
    errors = np.array([rounded(vector, step) - vector for step in range(steps)])
    fraction = vector - np.floor(vector)
    deviation = np.sqrt(fraction * (1 - fraction) / steps)
    assert (np.abs(errors.mean(axis=0)) < 5 * deviation).all()
    assert np.abs(errors).max() < 1


def test_tiny_values_do_not_drift() -> None:
    """Down to what 23 random bits resolve, below which nothing is rounded up."""
    assert not rounded(np.full(100_000, 1e-9, np.float32)).any()
    assert not rounded(np.full(100_000, -1e-9, np.float32)).any()
    ups = rounded(np.full(1_000_000, 1e-4, np.float32)).sum()
    assert abs(ups - 100) < 5 * 10


@pytest.mark.parametrize(
    ("step", "worker", "shift"),
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 16), (1, 1, 64)],
)
def test_workers_steps_and_neighbours_are_independent(
    step: int, worker: int, shift: int
) -> None:
    size = 400_000
    half = np.full(size, 0.5, np.float32)
    one = rounded(half)[shift:] - 0.5
    other = rounded(half, step, worker)[: size - shift] - 0.5
    assert abs((one * other).mean()) < 5 * 0.25 / math.sqrt(size)


def test_uniform_fills_the_unit_interval_evenly() -> None:
    key = random_key(5, 6, 7)
    numbers = np.array([uniform(np.uint32(i), key) for i in range(40_000)])
    assert 0 < numbers.min() <= numbers.max() < 1
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 400) ** 2 / 400).sum()
    assert 40 < chi_square < 180  # 99 degrees of freedom: 99 +- 14


def test_random_numbers_are_pinned() -> None:
    """Runs repeat bit for bit, on other machines and in later versions too."""
    assert random_key(0, 0, 0).tolist() == PINNED_KEY
    integers = rounded(np.linspace(-2, 2, 32, dtype=np.float32))
    assert integers.tolist() == PINNED_INTEGERS


def test_seeds_beyond_64_bits_and_below_0_are_taken() -> None:
    assert random_key(-1, 0, 0).tolist() == random_key(2**64 - 1, 0, 0).tolist()


# refills


@every_format
def test_a_refill_has_the_same_bytes_in_any_order(form: IntegerFormat) -> None:
    stream = stream_of(gaussian(500), form, scale=3.0, key=KEY)
    whole = filled(stream)
    order = np.random.default_rng(0).permutation(stream.num_chunks)
    again = filled(stream, order.tolist())
    np.testing.assert_array_equal(again.payload, whole.payload[order])
    np.testing.assert_array_equal(filled(stream, [2]).payload[0], whole.payload[2])


def test_a_refill_counts_no_clip_twice() -> None:
    stream = stream_of(np.full(40, 1000, np.float32), INT8, key=KEY)
    filled(stream)
    filled(stream)
    assert stream.plan.beyond.sum() == 40


# clipping


@every_format
@pytest.mark.parametrize("key", [None, KEY], ids=["deterministic", "random"])
def test_saturated_workers_never_overflow(
    form: IntegerFormat, key: NDArray[np.uint32] | None
) -> None:
    """The float32 trap for n = 16 (by 1) and n = 3 (by 65), and all other n."""
    for n in range(1, 65):
        vector = np.array([3e38, -3e38, 1e10, -1e10, 2e9, -2e9], np.float32)
        scale = 1.0 if n % 2 else 1e30  # 1e30: the product is infinite
        stream = stream_of(vector, form, scale=scale, num_workers=n, key=key)
        sent = integers_of(stream)[:6]
        bound = min(form.clip_bound(n), 2**31 - 128)  # n = 1: the largest float32
        assert np.abs(sent).max() == bound
        assert (np.sign(sent) == np.sign(vector)).all()
        assert n * int(np.abs(sent).max()) <= form.largest_result
        assert filled(stream).flags.tolist()[0] == Flag.CLIPPED


def test_clips_are_counted_at_the_exact_bound() -> None:
    bound = INT32.clip_bound(16)  # 134217727, of which float32 knows only neighbours
    below, above = np.float32(bound - 7), np.float32(bound + 1)
    vector = np.array([below, above, -above, 5], np.float32)
    stream = stream_of(vector, INT32, num_workers=16)
    assert integers_of(stream)[:4].tolist() == [bound - 7, bound, -bound, 5]
    assert stream.plan.beyond.tolist() == [2]


def test_only_what_is_beyond_the_bound_is_a_clip() -> None:
    vector = np.array([31, -31, 32, -32, 1000, 0.4], np.float32)
    stream = stream_of(vector, INT8, num_workers=4)
    assert integers_of(stream)[:6].tolist() == [31, -31, 31, -31, 31, 0]
    assert stream.plan.beyond.sum() == 3
    untouched = stream_of(vector[:2], INT8, num_workers=4)
    assert filled(untouched).flags.tolist() == [0]
    assert untouched.plan.beyond.sum() == 0


def test_random_rounding_counts_the_integers_that_it_sends() -> None:
    """An element just below the bound is a clip if it is rounded up."""
    stream = stream_of(np.full(4000, 7.5, np.float32), INT8, key=KEY, num_workers=16)
    free = integers_of(stream_of(np.full(4000, 7.5, np.float32), INT32, key=KEY))
    assert stream.form.clip_bound(16) == 7
    integers_of(stream)
    assert stream.plan.beyond.sum() == (free == 8).sum() > 0


@pytest.mark.parametrize("form", [INT8, INT16], ids=["int8", "int16"])
def test_without_clipping_the_low_bits_are_sent(form: IntegerFormat) -> None:
    vector = np.array([form.largest_element, form.largest_element + 1, -5], np.float32)
    stream = stream_of(vector, form, clip=False, num_workers=64)
    sent = integers_of(stream)[:3].tolist()
    assert sent == [form.largest_element, -form.largest_element - 1, -5]
    assert filled(stream).flags.tolist() == [Flag.OVERFLOW]


def test_without_clipping_int32_saturates() -> None:
    stream = stream_of(np.array([3e9, -3e9, 2e9], np.float32), INT32, clip=False)
    largest = 2**31 - 128
    assert integers_of(stream)[:3].tolist() == [largest, -largest, 2_000_000_000]
    assert filled(stream).flags.tolist() == [Flag.OVERFLOW]
    assert stream.plan.beyond.sum() == 2


@given(st.integers(1, 2**31 - 1))
@settings(max_examples=200, deadline=None)
def test_float_at_most(integer: int) -> None:
    below = float_at_most(integer)
    assert float(below) <= integer < float(np.nextafter(below, np.float32(np.inf)))


# blocks


@every_format
@pytest.mark.parametrize("key", [None, KEY], ids=["deterministic", "random"])
def test_every_block_has_its_scale(
    form: IntegerFormat, key: NDArray[np.uint32] | None
) -> None:
    """Blocks within a chunk, over several chunks, empty, and of one element."""
    ends, scales = [3, 3, 4, 40, 100], [1.0, 5.0, 0.5, 2.0, 8.0]
    vector = gaussian(100)
    stream = stream_of(vector, form, scale=scales, block_ends=ends, key=key)
    sent = integers_of(stream)[:100]
    start = 0
    for end, scale in zip(ends, scales, strict=True):
        alone = integers_of(stream_of(vector, form, scale=scale, key=key))
        np.testing.assert_array_equal(sent[start:end], alone[start:end])
        start = end


def test_chunks_of_zero_scale_are_sent_empty() -> None:
    stream = stream_of(gaussian(48), INT32, scale=[0.0, 1.0], block_ends=[20, 48])
    assert filled(stream).element_count.tolist() == [0, 16, 16]


# input that is not finite, or barely


@every_format
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", [None, KEY], ids=["deterministic", "random"])
def test_a_chunk_that_is_not_finite_is_sent_as_zeros_with_a_mark(
    form: IntegerFormat, bad: float, key: NDArray[np.uint32] | None
) -> None:
    vector = gaussian(200)
    vector[[70, 75, 150]] = bad
    stream = stream_of(vector, form, scale=5.0, key=key)
    clean = stream_of(np.nan_to_num(vector, nan=0, posinf=0, neginf=0), form, scale=5.0)
    clean.plan.key[:] = stream.plan.key
    contributions = filled(stream, list(range(stream.num_chunks))[::-1])
    width = stream.elements_per_chunk
    for row, chunk in zip(
        contributions.payload, range(stream.num_chunks)[::-1], strict=True
    ):
        is_bad = chunk in (70 // width, 75 // width, 150 // width)
        mark = contributions.exponent[stream.num_chunks - 1 - chunk]
        assert mark == (NON_FINITE if is_bad else NO_EXPONENT)
        assert row.any() != is_bad
    filled(stream)  # in the other order
    assert stream.first_non_finite == 70
    assert stream.plan.beyond.sum() == 0


def test_an_infinite_product_of_finite_numbers_is_only_clipped() -> None:
    stream = stream_of(np.array([1e30, 1.0], np.float32), INT8, scale=1e20)
    contributions = filled(stream)
    assert contributions.payload[0, :2].view(np.int8).tolist() == [127, 127]
    assert contributions.exponent.tolist() == [NO_EXPONENT]
    assert stream.first_non_finite is None


def test_denormals_and_signed_zeros() -> None:
    vector = np.array([1e-45, -1e-45, 0.0, -0.0, 2.0**-126], np.float32)
    assert integers_of(stream_of(vector, INT32))[:5].tolist() == [0] * 5
    large = stream_of(vector, INT32, scale=2.0**100)
    assert integers_of(large)[:5].tolist() == [0] * 5
    thousand = np.array([2.0**-90, -(2.0**-99)], np.float32)
    large = stream_of(thousand, INT32, scale=2.0**100)
    assert integers_of(large)[:2].tolist() == [1024, -2]


# and back


@every_format
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_the_mean_is_the_sum_over_n_and_scale(form: IntegerFormat, size: int) -> None:
    extreme = form.largest_result
    sums = np.random.default_rng(0).integers(-extreme - 1, extreme + 1, size)
    sums[0] = -extreme - 1
    stream = stream_of(np.zeros(size, np.float32), form, scale=0.3)
    drained(stream, sums, num_workers=7)
    inverse = np.float32(1 / (7 * float(np.float32(0.3))))
    np.testing.assert_array_equal(stream.plan.mean, sums.astype(np.float32) * inverse)


@every_format
def test_sums_of_squares_are_exact(form: IntegerFormat) -> None:
    """For int32 up to 2^62 each: beyond float64, and their sum beyond int64."""
    extreme, ends = form.largest_result, [5, 5, 300]
    sums = np.random.default_rng(1).integers(-extreme - 1, extreme + 1, 300)
    sums[10:200] = -extreme - 1
    stream = stream_of(
        np.zeros(300, np.float32), form, scale=[1.0, 1.0, 1.0], block_ends=ends
    )
    drained(stream, sums, num_workers=1)
    exact = [sum(int(s) ** 2 for s in part) for part in (sums[:5], sums[5:5], sums[5:])]
    assert stream.square_sums == exact
    assert stream.plan.tally[LARGEST_SUM] == extreme + 1


def test_padding_is_not_summed() -> None:
    stream = stream_of(np.zeros(3, np.float32), INT32)
    drained(stream, np.arange(16), num_workers=1)  # a switch that fills the padding
    assert stream.square_sums == [0 + 1 + 4]


# the same functions, uncompiled

UNCOMPILED = """
import sys, warnings
warnings.simplefilter("ignore")
from host.compressors.quantize import quantize
from test_quantize import wire
assert not hasattr(quantize, "py_func"), "a compiled kernel"
sys.stdout.write(wire())
"""


def wire() -> str:
    """All formats and roundings of one vector with a clip and a NaN, as hex digits."""
    vector = gaussian(50) * 100
    vector[40] = math.nan
    streams: list[ScaledSum] = [
        stream_of(vector, form, scale=[0.3, 7.0], block_ends=[20, 50], key=key)
        for form in FORMATS
        for key in (None, KEY)
    ]
    texts = []
    for stream in streams:
        contributions = filled(stream)
        drained(stream, np.arange(50) - 25, num_workers=3)
        texts += [np.asarray(field).tobytes().hex() for field in contributions]
        texts += [stream.plan.mean.tobytes().hex(), str(stream.square_sums)]
        texts += [str(stream.plan.beyond), str(stream.plan.tally)]
    return "\n".join(texts)


def test_compiled_and_uncompiled_agree() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNCOMPILED],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == wire()
