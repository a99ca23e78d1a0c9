"""host/compressors/heuristic.py: floor(log2 m), and the clamp that it needs."""

import math
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.heuristic import Heuristic

N, D = 4, 200
TYPES = ["int8", "int16", "int32"]


def average(
    gradients: NDArray[np.float32], **options: Any
) -> list[tuple[NDArray[np.float32], Heuristic]]:
    def work(network: LocalNetwork) -> tuple[NDArray[np.float32], Heuristic]:
        heuristic = Heuristic(**options)
        return heuristic.average(gradients[network.rank], network), heuristic

    return results_of(run_workers(len(gradients), work))


@pytest.mark.parametrize("element_type", TYPES)
@pytest.mark.parametrize("largest", [0.3, 0.5, 1.0, 1.5, 3.999, 1e-20, 1e20])
def test_it_is_the_formula_of_the_authors_code(
    element_type: str, largest: float
) -> None:
    rng = np.random.default_rng(0)
    gradients = (rng.uniform(-1, 1, (N, D)) * largest).astype(np.float32)
    gradients[2, 5] = -largest
    m = float(np.abs(gradients).max())
    top = 2 ** (8 * (1 << TYPES.index(element_type)) - 1) - 1
    alpha = np.float32(top / (N * 2.0 ** math.floor(math.log2(m))))
    integers = np.rint(gradients * alpha).astype(np.int64)
    clipped = np.clip(integers, -(top // N), top // N)
    expected = clipped.sum(axis=0) / (N * float(alpha))
    for rank, (mean, heuristic) in enumerate(
        average(gradients, element_type=element_type)
    ):
        np.testing.assert_allclose(mean, expected, rtol=1e-6)
        statistics = heuristic.statistics
        beyond = np.abs(integers[rank]) > top // N
        assert statistics.clips == beyond.sum()
        assert statistics.largest_integer == np.abs(integers[rank]).max()
        assert statistics.overflows == 0


def test_the_clamp_bites_the_largest_elements() -> None:
    """m = 1.9: integers up to 1.9 times the budget, the mean clipped to 1."""
    gradients = np.full((N, 5), 1.9, np.float32)
    mean, heuristic = average(gradients, element_type="int32")[0]
    np.testing.assert_allclose(mean, 1.0, rtol=1e-6)
    assert heuristic.statistics.clips == 5


@pytest.mark.parametrize("n", [1, 3, 16, 64])
@pytest.mark.parametrize("element_type", TYPES)
def test_nothing_overflows(n: int, element_type: str) -> None:
    gradients = np.full((n, 8), 3.999, np.float32)
    mean, heuristic = average(gradients, element_type=element_type)[0]
    assert heuristic.statistics.overflows == 0
    assert (mean > 0).all()


def test_zeros_denormals_and_the_largest_floats() -> None:
    assert not average(np.zeros((N, 3), np.float32))[0][0].any()
    tiny = average(np.full((N, 3), 1e-45, np.float32), element_type="int32")[0][0]
    assert np.isfinite(tiny).all()
    assert np.abs(tiny).max() <= 1e-36
    large = np.full((N, 3), 3e38, np.float32)
    mean = average(large, element_type="int32")[0][0]
    assert np.isfinite(mean).all()
    assert (mean > 1e37).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_all_workers_raise_when_one_gradient_is_not_finite(bad: float) -> None:
    gradients = np.ones((N, D), np.float32)
    gradients[1, 50] = bad
    for rank, outcome in enumerate(
        run_workers(
            N, lambda network: Heuristic().average(gradients[network.rank], network)
        )
    ):
        assert isinstance(outcome, ValueError)
        expected = "gradient[50]" if rank == 1 else "another worker"
        assert expected in str(outcome)


@pytest.mark.parametrize("d", [0, 1, 65])
def test_any_number_of_elements(d: int) -> None:
    gradients = np.random.default_rng(1).uniform(0.5, 1, (N, d)).astype(np.float32)
    mean = average(gradients, element_type="int16")[0][0]
    assert mean.shape == (d,)
    np.testing.assert_allclose(mean, np.minimum(gradients, 0.5).mean(axis=0), rtol=1e-3)
