"""host/compressors/fixed.py: Sapio 2019, Theorems 1 and 2, and what lies beyond B."""

import math
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.fixed import FixedScale, fixed_scale
from host.compressors.integers import integer_format

N, D = 4, 200
TYPES = ["int8", "int16", "int32"]


def gaussian(steps: int, n: int = N, d: int = D) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(steps, n, d)).astype(np.float32)


def train(
    gradients: NDArray[np.float32], **options: Any
) -> list[tuple[NDArray[np.float32], FixedScale]]:
    def work(network: LocalNetwork) -> tuple[NDArray[np.float32], FixedScale]:
        fixed = FixedScale(**options)
        means = [fixed.average(g[network.rank], network) for g in gradients]
        return np.array(means), fixed

    return results_of(run_workers(gradients.shape[1], work))


@pytest.mark.parametrize("element_type", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 16, 63, 64])
def test_within_the_bound_nothing_overflows(element_type: str, n: int) -> None:
    """Theorem 2, with every element of every worker at the bound."""
    for bound in (29.24, 1e-6, 3e7):
        gradients = np.full((1, n, 20), bound, np.float32)
        gradients[:, :, ::2] *= -1
        means, fixed = train(gradients, element_type=element_type, bound=bound)[0]
        assert fixed.statistics.overflows == 0
        if element_type != "int8" or n < 16:
            np.testing.assert_allclose(means, gradients[:, 0], rtol=0.1)


@pytest.mark.parametrize("element_type", TYPES)
def test_the_scale_is_nearly_the_largest_that_is_allowed(element_type: str) -> None:
    form = integer_format(element_type, None)
    for n in (1, 2, 16, 64):
        f = float(fixed_scale(form, n, 3.0))
        allowed = (form.largest_result + 1 - n) / (n * 3.0)
        assert f <= allowed
        if n > 1:
            assert f >= allowed * (1 - 1e-6)


@pytest.mark.parametrize("element_type", TYPES)
def test_the_error_is_half_an_integer_at_most(element_type: str) -> None:
    """Theorem 1 has n / f for the sum; rounding to nearest gives half of that."""
    gradients = gaussian(3)
    bound = float(np.abs(gradients).max())
    means = train(gradients, element_type=element_type, bound=bound)[0][0]
    f = float(fixed_scale(integer_format(element_type, None), N, bound))
    error = np.abs(means - gradients.mean(axis=1, dtype=np.float64)).max()
    assert error <= 0.5 / f + 1e-6
    if element_type != "int32":
        assert error > 0.1 / f


def test_the_bound_is_profiled_and_then_stays() -> None:
    gradients = gaussian(6)
    gradients[1, 2, 7] = -9.0
    gradients[4, 0, 0] = 20.0  # after the profile: not seen
    outcomes = train(gradients, profile_steps=3)
    for means, fixed in outcomes:
        assert fixed.bound == 9.0
        assert means.tobytes() == outcomes[0][0].tobytes()
    assert train(gradients, profile_steps=5)[0][1].bound == 20.0
    assert train(gradients, bound=0.5)[0][1].bound == 0.5


def test_the_profile_goes_on_while_all_is_zero() -> None:
    gradients = gaussian(4)
    gradients[:2] = 0
    means, fixed = train(gradients, profile_steps=1)[0]
    assert not means[:2].any()
    assert fixed.bound == np.abs(gradients[2]).max()


def test_beyond_the_bound_sums_wrap_and_are_counted() -> None:
    """As in the paper: no clip, no error. 4 workers at 1.5 B: 6 / 4 of the range."""
    gradients = np.full((1, N, 3), 1.5, np.float32)
    outcomes = train(gradients, bound=1.0, element_type="int32")
    for means, fixed in outcomes:
        np.testing.assert_allclose(means, 1.5 - 2.0, rtol=1e-5)
        assert (fixed.statistics.overflows, fixed.statistics.clips) == (1, 0)


def test_an_integer_that_does_not_fit_is_told_to_all() -> None:
    """Worker 0's cast wraps; the sum does not, yet every worker counts an overflow."""
    gradients = np.zeros((1, N, 3), np.float32)
    gradients[0, 0, 0] = 6.0
    for means, fixed in train(gradients, bound=1.0, element_type="int8"):
        assert (fixed.statistics.overflows, fixed.statistics.clips) == (1, 0)
        assert means[0, 0] < 0
    assert fixed.statistics.largest_integer < 127 * 2


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
@pytest.mark.parametrize("options", [{"bound": 5.0}, {}])
def test_all_workers_raise_when_one_gradient_is_not_finite(
    bad: float, options: dict[str, Any]
) -> None:
    gradients = gaussian(2)
    broken = gradients[0, 3].copy()
    broken[17] = bad

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        fixed = FixedScale(**options)
        mine = broken if network.rank == 3 else gradients[0, network.rank]
        text = r"gradient\[17\]" if network.rank == 3 else "another worker"
        with pytest.raises(ValueError, match=text):
            fixed.average(mine, network)
        return np.array([fixed.average(g, network) for g in gradients[:, network.rank]])

    for means in results_of(run_workers(N, work)):
        assert means.tobytes() == train(gradients, **options)[0][0].tobytes()


def test_a_loaded_state_goes_on_bit_for_bit() -> None:
    gradients = gaussian(5)

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (FixedScale(profile_steps=2) for _ in range(3))
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network) for g in mine]
        for g in mine[:3]:
            first.average(g, network)
        second.load_state_dict(first.state_dict())
        means = [second.average(g, network) for g in mine[3:]]
        return np.array(means).tobytes() == np.array(expected[3:]).tobytes()

    assert results_of(run_workers(N, work)) == [True] * N


@pytest.mark.parametrize("d", [0, 1, 17])
def test_any_number_of_elements(d: int) -> None:
    gradients = gaussian(2, d=d)
    means = train(gradients)[0][0]
    np.testing.assert_allclose(means, gradients.mean(axis=1), atol=1e-6)
