"""host/compressors/intsgd.py over a network of threads: the paper's claims."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors import compressor
from host.compressors.intsgd import IntSGD
from switch.protocol import HEADER_BYTES

N, D = 4, 300
Gradients = NDArray[np.float32]

TYPES = ["int8", "int16", "int32"]


def gaussian(steps: int = 1, n: int = N, d: int = D, seed: int = 0) -> Gradients:
    """[steps, n, d]"""
    return np.random.default_rng(seed).normal(size=(steps, n, d)).astype(np.float32)


def train(
    gradients: Gradients, blocks: list[tuple[str, int]] | None = None, **options: Any
) -> list[tuple[Gradients, IntSGD]]:
    """[n] of the means of all steps, and the compressor."""

    def work(network: LocalNetwork) -> tuple[Gradients, IntSGD]:
        intsgd = IntSGD(**options)
        means = [intsgd.average(g[network.rank], network, blocks) for g in gradients]
        return np.array(means), intsgd

    return results_of(run_workers(gradients.shape[1], work))


@pytest.mark.parametrize("element_type", TYPES)
@pytest.mark.parametrize("scale", ["moving_average", "plain", "blockwise", "constant"])
def test_all_workers_have_the_same_bits(element_type: str, scale: str) -> None:
    blocks = [("weight", D - 100), ("none", 0), ("bias", 100)]
    results = train(gaussian(6), blocks, element_type=element_type, scale=scale)
    for means, intsgd in results:
        assert means.tobytes() == results[0][0].tobytes()
        assert intsgd.state_dict() == results[0][1].state_dict()


def test_a_run_repeats_from_its_seed() -> None:
    once, again, other = (train(gaussian(4), seed=seed)[0][0] for seed in (7, 7, 8))
    assert once.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("element_type", TYPES)
def test_random_rounding_is_unbiased_within_its_variance(element_type: str) -> None:
    """E mean = mean of the gradients; E||error||^2 <= d / (4 n alpha^2)."""
    steps, alpha = 800, 3.0
    gradient = gaussian()
    gradients = np.repeat(gradient, steps, axis=0)
    sigma = math.sqrt(D) / alpha
    means, intsgd = train(
        gradients, element_type=element_type, scale="constant", sigma=sigma
    )[0]
    assert intsgd.statistics.clips == 0
    errors = means - gradient[0].mean(axis=0, dtype=np.float64)
    fractions = gradient[0] * np.float32(alpha) % 1
    variance = (fractions * (1 - fractions)).sum(axis=0) / (N * alpha) ** 2
    assert (np.abs(errors.mean(axis=0)) < 5 * np.sqrt(variance / steps)).all()
    total = (errors**2).sum(axis=1).mean()
    assert total == pytest.approx(variance.sum(), rel=0.03)
    assert total <= D / (4 * N * alpha**2)


def test_deterministic_rounding_errs_by_half_a_step_at_most() -> None:
    alpha, gradients = 3.0, gaussian(3)
    sigma = math.sqrt(D) / alpha
    options = {"rounding": "deterministic", "scale": "constant", "sigma": sigma}
    means = train(gradients, **options)[0][0]
    error = np.abs(means - gradients.mean(axis=1))
    assert error.max() <= 1 / (2 * alpha) + 1e-6
    assert error.max() > 0.5 / (2 * alpha), "no rounding at all"


def test_adaptive_scale_keeps_the_noise_below_half_of_r_and_integers_small() -> None:
    """n = 16 Gaussian workers around a common gradient that varies with the steps.

    Noise: E||error||^2 <= r / 2 (here about r / 3). Integers: the sums' mean square is
    n / 2 where r = ||mean||^2, as with `plain` and steady norms.
    """
    n, d, steps = 16, 2000, 12
    rng = np.random.default_rng(3)
    common = rng.normal(size=(steps, 1, d))
    gradients = (common + rng.normal(size=(steps, n, d))).astype(np.float32)
    means, intsgd = train(gradients, scale="plain", element_type="int16")[0]
    errors = ((means - gradients.mean(axis=1)) ** 2).sum(axis=1)[1:]
    r = (means**2).sum(axis=1)[:-1]
    assert (errors <= r / 2).all()
    assert errors.sum() > r.sum() / 5, "more precise than the scale can be"
    alphas = np.sqrt(d) / np.sqrt(2 * n * r)
    sums = means[1:] * n * alphas[:, None]
    assert np.sqrt((sums**2).mean()) == pytest.approx(math.sqrt(n / 2), rel=0.1)
    assert intsgd.statistics.clips == 0


@pytest.mark.parametrize("n", [2, 3, 16, 64])
@pytest.mark.parametrize("element_type", TYPES)
def test_clipped_workers_never_overflow(n: int, element_type: str) -> None:
    """All elements of all workers at the bound: the network here detects overflows."""
    gradients = np.full((2, n, 20), 3e9, np.float32)
    gradients[:, :, ::2] *= -1
    options = {"first": "constant", "alpha_init": 1e9, "element_type": element_type}
    means, intsgd = train(gradients, **options)[0]
    bound = (2 ** (8 * (1 << TYPES.index(element_type)) - 1) - 1) // n
    assert intsgd.statistics.overflows == 0
    assert intsgd.statistics.clips > 0
    assert intsgd.statistics.largest_sum == n * bound
    assert (np.sign(means[0]) == np.sign(gradients[0, 0])).all()


def test_without_clipping_every_worker_raises_on_overflow() -> None:
    gradients = np.full((N, D), 100.0, np.float32)

    def work(network: LocalNetwork) -> int:
        intsgd = IntSGD(clip=False, first="constant", alpha_init=1.0)
        with pytest.raises(OverflowError, match="the range of int8"):
            intsgd.average(gradients[network.rank], network)
        assert intsgd.step == 0
        return intsgd.statistics.overflows

    assert results_of(run_workers(N, work)) == [-(-D // 64)] * N


def test_narrow_elements_and_wide_sums_do_not_share_the_range() -> None:
    n = 64
    gradients = np.full((1, n, 10), 100.0, np.float32)
    options = {"first": "constant", "alpha_init": 1.0, "rounding": "deterministic"}
    narrow = train(gradients, **options)[0]
    assert narrow[1].statistics.clips == 10
    for result_type in ("int16", "int32"):
        means, intsgd = train(gradients, result_type=result_type, **options)[0]
        assert intsgd.statistics.clips == 0
        np.testing.assert_allclose(means, 100, rtol=1e-6)


@pytest.mark.parametrize("d", [0, 1, 63, 64, 65])
def test_any_number_of_elements(d: int) -> None:
    gradients = gaussian(3, d=d)
    means, intsgd = train(gradients, element_type="int32", scale="constant")[0]
    np.testing.assert_allclose(means, gradients.mean(axis=1), atol=1e-3)
    assert intsgd.statistics.steps == 3


def test_statistics_count_bytes_and_integers() -> None:
    """Two int8 chunks of 64 bytes a step, and one round of exponents."""
    _, intsgd = train(gaussian(3, d=100))[1]
    statistics = intsgd.statistics
    expected = 3 * 2 * (HEADER_BYTES + 64) + HEADER_BYTES
    assert (statistics.bytes_up, statistics.bytes_down) == (expected, expected)
    assert 127 // N * 0.4 < statistics.largest_integer <= 127 // N
    assert statistics.largest_integer <= statistics.largest_sum <= 127


def test_the_first_scale_uses_the_range_and_clips_nothing() -> None:
    for magnitude in (1e-30, 1.0, 1e30):
        gradients = gaussian() * np.float32(magnitude)
        means, intsgd = train(gradients, element_type="int16")[0]
        assert intsgd.statistics.clips == 0
        error = np.abs(means[0] - gradients[0].mean(axis=0)).max()
        assert error < np.abs(gradients).max() * 2 / (32767 // N)


def test_zero_gradients_give_zeros_and_leave_the_scale_to_the_next_step() -> None:
    gradients = gaussian(3)
    gradients[0] = 0
    means, intsgd = train(gradients)[0]
    assert not means[0].any()
    assert np.abs(means[1] - gradients[1].mean(axis=0)).max() < 0.2
    assert intsgd.statistics.clips == 0


@pytest.mark.parametrize("scale", ["moving_average", "blockwise"])
def test_a_loaded_state_goes_on_bit_for_bit(scale: str) -> None:
    gradients, blocks = gaussian(6), [("a", 100), ("b", D - 100)]

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (IntSGD(scale=scale, seed=5) for _ in range(3))
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network, blocks) for g in mine]
        for g in mine[:3]:
            first.average(g, network, blocks)
        second.load_state_dict(first.state_dict())
        means = [second.average(g, network, blocks) for g in mine[3:]]
        return np.array(means).tobytes() == np.array(expected[3:]).tobytes()

    assert results_of(run_workers(N, work)) == [True] * N


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 2])
def test_all_workers_raise_when_one_gradient_is_not_finite(
    bad: float, step: int
) -> None:
    """In the same step, by name; and the network and the compressor can go on."""
    gradients = gaussian(5)
    broken = gradients[step, 1].copy()
    broken[[130, 250]] = bad
    blocks = [("weight", 120), ("bias", D - 120)]

    def work(network: LocalNetwork) -> tuple[str, Gradients]:
        intsgd, text, means = IntSGD(), "", []
        for k, g in enumerate(gradients[:, network.rank]):
            if k == step:
                mine = broken if network.rank == 1 else g
                with pytest.raises(ValueError, match=f"step {step}") as raised:
                    intsgd.average(mine, network, blocks)
                text = str(raised.value)
            means.append(intsgd.average(g, network, blocks))
        return text, np.array(means)

    outcomes = results_of(run_workers(N, work))
    untouched = train(gradients, blocks)[0][0]
    for rank, (text, means) in enumerate(outcomes):
        expected = "bias[10] is not finite" if rank == 1 else "another worker"
        assert expected in text
        assert means.tobytes() == untouched.tobytes(), "the step left a trace"


def test_out_may_be_the_gradient_even_if_it_is_not_finite() -> None:
    gradients = gaussian(2)
    expected = train(gradients)[0][0]

    def work(network: LocalNetwork) -> Gradients:
        intsgd, mine = IntSGD(), gradients[:, network.rank].copy()
        for g in mine:
            assert intsgd.average(g, network, out=g) is g
        bad = np.full(D, math.inf, np.float32)
        with pytest.raises(ValueError, match=r"gradient\[0\]"):
            intsgd.average(bad, network, out=bad)
        return mine

    for means in results_of(run_workers(N, work)):
        assert means.tobytes() == expected.tobytes()


def test_tensors_have_the_same_mean_as_arrays() -> None:
    gradients = gaussian()
    expected = train(gradients)[0][0]

    def work(network: LocalNetwork) -> torch.Tensor:
        mine = torch.from_numpy(gradients[0, network.rank]).view(D // 3, 3)
        return compressor("intsgd").average(mine, network)

    for mean in results_of(run_workers(N, work)):
        assert mean.shape == (D // 3, 3)
        assert mean.numpy().tobytes() == expected[0].tobytes()
