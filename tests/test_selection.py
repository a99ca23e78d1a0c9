"""host/compressors/selection.py: which elements; and each rule is a contraction."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from host.compressors.selection import (
    rand_k,
    random_below,
    shared_key,
    top_k,
)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Choice = Callable[[int, float, int], Integers]
"""(elements, k, draw) -> indices."""


def gaussian(size: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


# top_k


def sorted_top(vector: Floats, k: int) -> Integers:
    """By sorting: the largest, of equal ones the first, no zeros, ascending."""
    magnitude = np.abs(vector)
    order = np.lexsort((np.arange(len(vector)), -magnitude))[:k]
    return np.sort(order[magnitude[order] > 0])


@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 65, 5000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99, 1.0, 1.1])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_are_those_of_a_sort(size: int, share: float, ties: bool) -> None:
    for seed in range(20):
        vector = gaussian(size, seed)
        vector = np.round(2 * vector) if ties else vector
        k = round(share * size)
        found = top_k(vector, k)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, sorted_top(vector, k))


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float32, st.integers(0, 150), elements=st.floats(width=32)),
    st.integers(0, 160),
)
def test_any_bits(vector: Floats, k: int) -> None:
    """Denormals, infinities and -0 in their order; a NaN before all others."""
    magnitude = np.where(np.isnan(vector), np.inf, np.abs(vector.astype(np.float64)))
    found = top_k(vector, k)
    assert len(found) == min(k, np.count_nonzero(magnitude))
    assert (np.diff(found) > 0).all()
    left = np.delete(magnitude, found)
    if len(found):
        assert magnitude[found].min() >= left.max(initial=0)
        assert magnitude[found].min() > 0
    nans = np.isnan(vector)
    assert nans[found].sum() == min(k, nans.sum())


def test_every_digit_of_a_pattern_decides() -> None:
    """Patterns that differ in one bit, whichever it is."""
    for bit in range(31):
        bits = np.array([0x2AAAAAAA & ~(1 << bit), 0x2AAAAAAA | 1 << bit], np.int32)
        for order in ([0, 1], [1, 0]):
            vector = bits[order].view(np.float32)
            assert top_k(vector, 1).tolist() == [order.index(1)]


def test_top_k_leaves_strictly_less_than_the_average_share() -> None:
    """||x - top_k(x)||^2 <= (1 - k/d) ||x||^2, with equality where all |x| are equal.
    Of a Gaussian vector is left what lies within +-t: (1 - k/d) - 2 t phi(t)."""
    for k, t in ((1, 3.2905), (10, 2.5758), (100, 1.6449)):
        left = []
        for seed in range(50):
            vector = gaussian(1000, seed)
            squares = vector.astype(np.float64) ** 2
            left.append(np.delete(squares, top_k(vector, k)).sum() / squares.sum())
        assert max(left) < 1 - k / 1000
        density = np.exp(-t * t / 2) / np.sqrt(2 * np.pi)
        assert np.mean(left) == pytest.approx(1 - k / 1000 - 2 * t * density, abs=0.005)
    assert len(top_k(np.ones(1000, np.float32), 10)) == 10


# rand_k


def ours(elements: int, k: float, draw: int) -> Integers:
    return rand_k(elements, k, shared_key(7, draw))


def with_replacement(elements: int, k: float, draw: int) -> Integers:
    """As GRACE's random-k does."""
    key = shared_key(7, draw)
    if k < 1:
        return rand_k(elements, k, key)
    drawn = [random_below(key, each, elements) for each in range(int(k))]
    return np.unique(np.array(drawn))


def consecutive(elements: int, k: float, draw: int) -> Integers:
    """Every element as often as any other, but neighbours together."""
    if k < 1:
        return rand_k(elements, k, shared_key(7, draw))
    at = random_below(shared_key(7, draw), 0, elements)
    return np.sort((at + np.arange(int(k))) % elements)


def crooked(elements: int, k: float, draw: int) -> Integers:
    """The lower of two: early elements likelier to be the one."""
    if k < 1:
        key = shared_key(7, draw)
        hit = random_below(key, 0, 1000) < k * 1000
        at = min(random_below(key, each, elements) for each in (1, 2))
        return np.array([at] if hit else [], np.int64)
    return ours(elements, k, draw)


def always_one(elements: int, k: float, draw: int) -> Integers:
    """For k < 1: forgets the coin."""
    return ours(elements, max(1.0, k), draw)


D, DRAWS = 12, 12_000


def check_marginals(choice: Choice, k: float) -> None:
    """Every element with probability k / d, within five standard deviations."""
    counts = np.zeros(D)
    for draw in range(DRAWS):
        counts[choice(D, k, draw)] += 1
    share = k / D
    deviation = np.sqrt(DRAWS * share * (1 - share))
    assert np.abs(counts - DRAWS * share).max() < 5 * deviation


def check_pairs(choice: Choice, k: int) -> None:
    """Every pair with probability k (k - 1) / (d (d - 1)): so it is for sets of k that
    are all as likely."""
    counts = np.zeros((D, D))
    for draw in range(DRAWS):
        chosen = choice(D, k, draw)
        counts[np.ix_(chosen, chosen)] += 1
    share = k * (k - 1) / (D * (D - 1))
    deviation = np.sqrt(DRAWS * share * (1 - share))
    pairs = counts[~np.eye(D, dtype=bool)]
    assert np.abs(pairs - DRAWS * share).max() < 5 * deviation


def check_contraction(choice: Choice, k: float) -> None:
    """E ||x - comp_k(x)||^2 = (1 - k/d) ||x||^2 for random elements, whatever x."""
    squares = gaussian(D).astype(np.float64) ** 4
    squares[0] = 3 * squares.sum()
    left = np.array(
        [np.delete(squares, choice(D, k, draw)).sum() for draw in range(DRAWS)]
    )
    error = left.mean() / squares.sum() - (1 - k / D)
    assert abs(error) < 5 * left.std() / squares.sum() / np.sqrt(DRAWS)


@pytest.mark.parametrize("k", [0.25, 1, 4, 11])
def test_every_element_is_as_likely_as_any_other(k: float) -> None:
    check_marginals(ours, k)
    check_contraction(ours, k)


@pytest.mark.parametrize("k", [2, 4, 11])
def test_every_pair_is_as_likely_as_any_other(k: int) -> None:
    check_pairs(ours, k)


@pytest.mark.parametrize(
    ("check", "broken", "k"),
    [
        (check_marginals, with_replacement, 4),
        (check_contraction, with_replacement, 4),
        (check_pairs, with_replacement, 4),
        (check_pairs, consecutive, 4),
        (check_marginals, crooked, 0.25),
        (check_contraction, crooked, 0.25),
        (check_marginals, always_one, 0.25),
        (check_contraction, always_one, 0.25),
    ],
)
def test_the_checks_fail_on_what_is_not_random_enough(
    check: Callable[[Choice, float], None], broken: Choice, k: float
) -> None:
    with pytest.raises(AssertionError):
        check(broken, k)


@pytest.mark.parametrize("size", [1, 2, 100, 5000])
def test_k_different_ones_in_order(size: int) -> None:
    for k in {1, size // 2 or 1, size - 1 or 1, size, size + 5}:
        chosen = rand_k(size, k, shared_key(0, k))
        assert len(chosen) == min(k, size)
        assert (np.diff(chosen) > 0).all()
        assert chosen.min() >= 0
        assert chosen.max() < size


def test_nothing_to_choose_from() -> None:
    for k in (0.5, 1, 10):
        assert len(rand_k(0, k, shared_key(0, 0))) == 0
    with pytest.raises(ValueError, match="at most 2"):
        rand_k(2**32 + 1, 1, shared_key(0, 0))


def test_choices_go_by_seed_and_step() -> None:
    keys = [shared_key(seed, step) for seed in range(10) for step in range(100)]
    assert len(set(keys)) == 1000
    chosen = {tuple(rand_k(1000, 5, key).tolist()) for key in keys}
    assert len(chosen) == 1000


def test_numbers_below_a_bound_reach_all_of_it() -> None:
    key = shared_key(1, 1)
    for bound in (1, 2, 3, 2**32):
        drawn = [random_below(key, counter, bound) for counter in range(500)]
        assert min(drawn) >= 0
        assert max(drawn) < bound
        assert len(set(drawn)) == min(bound, 500)
        assert max(drawn) >= bound * 0.98 - 1


# every worker, on whatever machine, chooses the same

CHOSEN = """
import numpy as np
from host.compressors.selection import rand_k, shared_key, top_k
vector = (np.arange(400) * 37 % 101 - 50).astype(np.float32)
print(top_k(vector, 7).tolist(), rand_k(400, 7, shared_key(3, 5)).tolist())
"""
PINNED = "[0, 30, 101, 131, 202, 232, 303] [91, 157, 162, 168, 194, 222, 269]\n"


@pytest.mark.parametrize("disable", ["0", "1"])
def test_choices_are_pinned_compiled_and_uncompiled(disable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHOSEN],
        env={**os.environ, "NUMBA_DISABLE_JIT": disable},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == PINNED
