"""host/compressors/levels.py: the grids, and the rounding to their levels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from estimates import check_unbiased, check_variance
from numpy.typing import NDArray
from quantizing import integers_of

from host.compressors.integers import integer_format
from host.compressors.level_sum import LevelSum
from host.compressors.levels import (
    Grid,
    grid_of,
    last_index,
    levels_of,
    most_workers,
    scales_of,
    table_of,
)
from host.compressors.quantize import random_key

INT32 = integer_format("int32", None)
GRIDS = {
    f"{kind} {bits} bits{' of the authors' * authors}": grid_of(
        kind, bits, authors=authors
    )
    for kind, all_bits in (("exponential", (3, 4, 5)), ("uniform", (2, 3, 4, 8)))
    for bits in all_bits
    for authors in (False, True)
}
PINNED_EXPONENTIAL = [
    *(-64, -64, -32, -64, -32, -32, -32, -32, -16, -16, -8, -2),
    *(4, 8, 8, 16, 16, 32, 32, 32, 32, 64, 32, 64),
]
PINNED_UNIFORM = [
    *(-7, -7, -5, -5, -4, -4, -3, -3, -2, -2, -1, 0),
    *(0, 1, 1, 2, 2, 4, 4, 4, 5, 6, 6, 7),
]

every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def rounded(
    vector: NDArray[np.float32],
    grid: Grid,
    scale: float = 1.0,
    key: NDArray[np.uint32] | None = None,
) -> Integers:
    """Each element times scale, rounded to a level."""
    network: Any = SimpleNamespace(num_workers=1, slot_bytes=4096)
    stream = LevelSum(
        vector,
        np.empty_like(vector),
        network,
        grid,
        form=INT32,
        block_ends=np.array([len(vector)]),
        scales=np.array([scale], np.float32),
        key=random_key(0, 0, 0) if key is None else key,
    )
    return integers_of(stream)[: len(vector)]


def neighbours(grid: Grid) -> NDArray[np.float64]:
    """All levels, in order, signs included."""
    levels = levels_of(grid).astype(float)
    return np.unique(np.concatenate([-levels, levels]))


def moments(x: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """Variance of each element, (high - x) (x - low), and high - low."""
    levels = neighbours(grid)
    above = np.clip(np.searchsorted(levels, x), 1, len(levels) - 1)
    high, low = levels[above], levels[above - 1]
    return (high - x) * (x - low), high - low


# the grids


def test_levels_are_those_of_the_papers() -> None:
    assert levels_of(grid_of("exponential", 3)).tolist() == [0, 1, 2, 4]
    assert levels_of(grid_of("exponential", 4)).tolist() == [0, 1, 2, 4, 8, 16, 32, 64]
    assert levels_of(grid_of("exponential", 5)).tolist() == [
        0,
        *(2**k for k in range(15)),
    ]
    assert levels_of(grid_of("uniform", 4)).tolist() == list(range(8))
    assert levels_of(grid_of("uniform", 2)).tolist() == [0, 1]


def test_the_authors_grids_have_no_level_zero() -> None:
    exponential = grid_of("exponential", 4, authors=True)
    assert levels_of(exponential).tolist() == [2**k for k in range(8)]
    uniform = grid_of("uniform", 4, authors=True)
    assert levels_of(uniform).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_the_table_of_codes_has_the_sign_in_the_highest_bit() -> None:
    table = table_of(grid_of("exponential", 4), 4)
    positive = [0, 1, 2, 4, 8, 16, 32, 64]
    assert table.tolist() == positive + [-each for each in positive]
    narrow = table_of(grid_of("exponential", 3), 4)
    assert narrow.tolist() == [0, 1, 2, 4, 0, 0, 0, 0, 0, -1, -2, -4, 0, 0, 0, 0]
    wide = table_of(grid_of("exponential", 5), 8)
    assert (len(wide), wide[15], wide[16], wide[128 + 15]) == (256, 16384, 0, -16384)


@every_grid
def test_top_and_last_index_are_those_of_the_levels(grid: Grid) -> None:
    assert levels_of(grid)[-1] == grid.top
    assert levels_of(grid)[last_index(grid) - grid.first] == grid.top


@pytest.mark.parametrize(
    ("kind", "bits", "limits"),
    [
        ("exponential", 3, (31, 8191, 536870911)),
        ("exponential", 4, (1, 511, 33554431)),
        ("exponential", 5, (0, 1, 131071)),
        ("uniform", 4, (18, 4681, 306783378)),
        ("uniform", 8, (1, 258, 16909320)),
    ],
)
def test_most_workers(kind: str, bits: int, limits: tuple[int, ...]) -> None:
    """algorithms.md 5.2, and by the sum itself."""
    grid = grid_of(kind, bits)
    for name, limit in zip(("int8", "int16", "int32"), limits, strict=True):
        assert most_workers(grid, name) == limit
        largest = np.iinfo(name).max
        assert limit * int(grid.top) <= largest < (limit + 1) * int(grid.top)


def test_wrong_bits_are_told_the_right_ones() -> None:
    with pytest.raises(ValueError, match="bits is 6: must be one of 3, 4, 5"):
        grid_of("exponential", 6)
    with pytest.raises(ValueError, match="bits is 1: must be one of 2, 3, 4"):
        grid_of("uniform", 1)


# rounding


@every_grid
def test_levels_stay_what_they_are(grid: Grid) -> None:
    levels = neighbours(grid)
    vector = np.tile(levels, 500).astype(np.float32)
    np.testing.assert_array_equal(rounded(vector, grid), vector)


@every_grid
def test_an_element_goes_to_one_of_its_neighbours(grid: Grid) -> None:
    rng = np.random.default_rng(0)
    vector = (rng.uniform(-1, 1, 20_000) * grid.top).astype(np.float32)
    vector[::2] *= np.exp2(-rng.uniform(0, 10, 10_000)).astype(np.float32)
    levels = neighbours(grid)
    above = np.searchsorted(levels, vector)
    integers = rounded(vector, grid)
    up = integers == levels[above]
    assert (up | (integers == levels[np.maximum(above - 1, 0)])).all()
    assert 0.1 < up.mean() < 0.9


def sample(grid: Grid, steps: int, **broken: Any) -> tuple[Any, Any]:
    """Estimates of elements all over the grid, and these. What is `broken` is changed
    in the rounding: fields of the grid, the scale, the key of every step."""
    rng = np.random.default_rng(1)
    sizes = np.concatenate([rng.uniform(0, 1, 60), np.exp2(-rng.uniform(0, 8, 60))])
    truth = (sizes * rng.choice([-1, 1], 120)).astype(np.float32) * grid.top
    back = broken.pop("back", 1.0)
    key, scale = broken.pop("key", None), broken.pop("scale", 1.0)
    used = grid._replace(**broken)
    draws = [
        rounded(truth, used, scale, random_key(0, 0, step) if key is None else key)
        for step in range(steps)
    ]
    return np.array(draws, np.float64) * back, truth.astype(np.float64)


def check(estimates: Any, truth: Any, grid: Grid) -> None:
    variance, jump = moments(truth, grid)
    check_unbiased(estimates, truth, variance, jump)
    check_variance(estimates, truth, variance)


@every_grid
def test_rounding_is_unbiased_with_the_variance_of_its_neighbours(grid: Grid) -> None:
    check(*sample(grid, 3000), grid)


BROKEN: dict[str, dict[str, Any]] = {
    "scaled up by 1 % on the way there": {"scale": 1.01},
    "scaled down by 1 % on the way back": {"back": 0.99},
    "a top level too few": {"top": np.float32(32)},
    "up too often below the first level": {"offset": np.float32(0.03)},
    "up too seldom below the first level": {"slope": np.float32(0.97)},
    "levels of another grid": {"exponential": False, "top": np.float32(7)},
    "the same coins in every step": {"key": random_key(0, 0, 0)},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_rounding_is_found_out(broken: dict[str, Any]) -> None:
    """That the test above can fail, and does for 1 %: every fault is caught by it."""
    grid = grid_of("exponential", 4)
    with pytest.raises(AssertionError):
        check(*sample(grid, 3000, **broken), grid)


def test_ratio_two_levels_have_an_eighth_of_the_square_as_variance() -> None:
    """algorithms.md 3.2: r^2 / 8 at most from the first level on, reached at 4/3."""
    grid = grid_of("exponential", 4)
    x = np.linspace(1, 64, 100_000)
    share = moments(x, grid)[0] / x**2
    assert share.max() <= 1 / 8 + 1e-12
    assert moments(np.array([4 / 3]), grid)[0] == pytest.approx((4 / 3) ** 2 / 8)
    below = np.linspace(0, 1, 1000)
    variance, _ = moments(below, grid)
    np.testing.assert_allclose(variance, below - below**2, atol=1e-12)


@every_grid
def test_tiny_elements_do_not_drift(grid: Grid) -> None:
    """Below 2^-24 units the level 0 is sure; without it both signs are as likely."""
    for tiny in (1e-9, -1e-9, 1e-44, 0.0):
        integers = rounded(np.full(100_000, tiny, np.float32), grid)
        if grid.first:
            assert set(integers.tolist()) == {1, -1}
            assert abs(integers.mean()) < 5 / np.sqrt(100_000)
        else:
            assert not integers.any()
    ups = rounded(np.full(1_000_000, 1e-4, np.float32), grid)
    if not grid.first:
        assert abs(ups.sum() - 100) < 5 * 10


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
def test_what_lies_beyond_the_grid_goes_to_its_top(bad: float) -> None:
    grid = grid_of("exponential", 4)
    with np.errstate(over="ignore"):
        integers = rounded(np.full(8, bad, np.float32), grid, scale=2.0**100)
    assert (np.abs(integers) == 64).all()


def test_random_levels_are_pinned() -> None:
    """Runs repeat bit for bit, on other machines and in later versions too."""
    vector = np.linspace(-64, 64, 24, dtype=np.float32)
    assert rounded(vector, grid_of("exponential", 4)).tolist() == PINNED_EXPONENTIAL
    vector = np.linspace(-7, 7, 24, dtype=np.float32)
    assert rounded(vector, grid_of("uniform", 4)).tolist() == PINNED_UNIFORM


# scales


@every_grid
def test_no_product_with_the_scale_exceeds_the_top(grid: Grid) -> None:
    bits = np.random.default_rng(2).integers(1, 0x7E800001, 20_000, dtype=np.int32)
    bits[:3] = 1, 0x7E800000, 0x00800000
    norms, scales = bits.view(np.float32), scales_of(bits, grid)
    assert (norms * scales <= grid.top).all()
    assert (scales > 0).all()
    usable = (scales > 2.0**-126) & (scales < 2.0**120)
    np.testing.assert_allclose(
        norms[usable].astype(float) * scales[usable], grid.top, rtol=2.0**-22
    )


def test_the_norm_0_has_the_scale_0() -> None:
    assert scales_of(np.zeros(1, np.int32), grid_of("uniform", 4)).tolist() == [0]
