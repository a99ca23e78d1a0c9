"""host/compressors/leveled.py: all forms of NUQSGD, QSGD and QSGDinf."""

import math
from typing import Any

import numpy as np
import pytest
from estimates import check_unbiased, check_variance
from leveling import (
    METHODS,
    SLOT,
    STEPS,
    D,
    Gradients,
    Method,
    N,
    every_method,
    every_path,
    expected,
    gaussian,
    make,
    run,
    train,
)
from local_network import LocalNetwork, results_of

from host.compressors import compressor
from host.compressors.leveled import Leveled
from host.compressors.quantize import random_key
from switch.protocol import HEADER_BYTES

# what the mean is


@every_method
def test_all_workers_have_the_same_bits(method: Method) -> None:
    results = train(gaussian(4), method)
    for means, _ in results:
        assert means.tobytes() == results[0][0].tobytes()


@every_method
def test_a_run_repeats_from_its_seed(method: Method) -> None:
    once, again, other = (train(gaussian(2), method, seed=s)[0][0] for s in (7, 7, 8))
    assert once.tobytes() == again.tobytes() != other.tobytes()


@every_method
def test_the_mean_is_unbiased_and_its_variance_that_of_the_levels(
    method: Method,
) -> None:
    """Whatever the workers' own norms are."""
    gradient = gaussian()
    means, made = train(np.repeat(gradient, STEPS, axis=0), method)[0]
    truth = gradient[0].mean(axis=0, dtype=np.float64)
    variance, jump = expected(made, gradient[0])
    check_unbiased(means.astype(float), truth, variance, jump)
    check_variance(means.astype(float), truth, variance)


@pytest.mark.parametrize("worker", range(N))
@every_path
def test_every_workers_estimate_is_unbiased(method: Method, worker: int) -> None:
    """The others send levels exactly, one of them large ones."""
    gradient = gaussian()
    for other in range(N):
        if other != worker:
            gradient[0, other] = 0
    gradient[0, (worker + 1) % N, ::64] = 64.0
    means, made = train(np.repeat(gradient, STEPS, axis=0), method, norm="linf")[0]
    truth = gradient[0].mean(axis=0, dtype=np.float64)
    check_unbiased(means.astype(float), truth, *expected(made, gradient[0]))


class Miscounting(LocalNetwork):
    """A network whose results say one worker more than there are."""

    def aggregate(self, stream: Any) -> None:
        drain = stream.drain

        def miscounted(chunks: Any, results: Any) -> None:
            drain(chunks, results._replace(num_workers=results.num_workers + 1))

        stream.drain = miscounted
        super().aggregate(stream)


@pytest.mark.parametrize("fault", ["frozen coins", "the same coins", "wrong count"])
def test_a_broken_mean_is_found_out(fault: str) -> None:
    """What test_levels cannot break: coins that do not change with the steps, coins
    that all workers share (unbiased, but the errors add up), and a wrong n."""
    gradient = gaussian()
    gradient[0, :] = gradient[0, 0]

    def work(network: LocalNetwork) -> tuple[Gradients, Leveled]:
        made, means = make(METHODS["nuqsgd"]), []
        if fault == "wrong count":
            network = Miscounting(network.fabric, network.rank)
        if fault == "the same coins":
            made.key = lambda _: random_key(0, 0, made.step)  # type: ignore[method-assign]
        for _ in range(STEPS):
            if fault == "frozen coins":
                made.step = 0
            means.append(made.average(gradient[0, network.rank], network))
        return np.array(means, np.float64), made

    means, made = results_of(run(N, work, make(METHODS["nuqsgd"])))[0]
    truth = gradient[0].mean(axis=0, dtype=np.float64)
    variance, jump = expected(made, gradient[0])
    if fault == "the same coins":
        with pytest.raises(AssertionError, match="variance"):
            check_variance(means, truth, variance)
    else:
        with pytest.raises(AssertionError, match="off"):
            check_unbiased(means, truth, variance, jump)


@every_path
def test_statistics_count_bytes_and_integers(method: Method) -> None:
    gradient = np.zeros((1, N, 100), np.float32)
    gradient[0, :, 0] = [1.0, -1.0, 1.0]
    made = train(gradient, method, norm="linf")[1][1]
    statistics = made.statistics
    assert statistics.largest_integer in (32, 64)  # exponent: 1.0 is half of 2^1
    full_up, full_down = HEADER_BYTES + 16, HEADER_BYTES + 64
    if made.path == "gather":
        assert statistics.largest_sum == 0
        lengths, message = HEADER_BYTES + SLOT, HEADER_BYTES + SLOT
        assert statistics.bytes_down == lengths + N * message
        assert statistics.bytes_up == lengths + message + (N - 1) * HEADER_BYTES
        return
    assert statistics.largest_sum == statistics.largest_integer
    # before that a round: of two norms, or of the exponents of 4 chunks; 3 are zeros
    norms = HEADER_BYTES + SLOT if made.common == "max" else 4 * HEADER_BYTES
    assert statistics.bytes_up == norms + full_up + 3 * HEADER_BYTES
    assert statistics.bytes_down == norms + full_down + 3 * HEADER_BYTES


# inputs at the edge


@every_method
@pytest.mark.parametrize("d", [0, 1, 31, 32, 33, 200])
def test_any_number_of_elements(method: Method, d: int) -> None:
    gradients = gaussian(2, d=d)
    means, made = train(gradients, method)[0]
    assert made.statistics.steps == 2
    error = np.abs(means - gradients.mean(axis=1)).max(initial=0)
    assert error <= np.abs(gradients).max(initial=0) * 2 * math.sqrt(max(d, 1))


@every_method
def test_zeros_are_zeros(method: Method) -> None:
    gradients = gaussian(3)
    gradients[1] = 0
    gradients[2, 1:] = 0  # zero on some workers only
    means, _ = train(gradients, method)[0]
    assert not means[1].any()
    assert means[2].any()


@every_method
def test_one_element_alone_is_exact(method: Method) -> None:
    """It is its block's norm, unless that is rounded up to a power of two."""
    gradients = np.full((1, N, 1), -0.5, np.float32)
    means, made = train(gradients, method, seed=1)[0]
    if (made.path, made.common) == ("network", "exponent"):
        assert abs(means[0, 0] + 0.5) <= 1.0
    else:
        np.testing.assert_allclose(means, -0.5, rtol=1e-6)


@every_method
@pytest.mark.parametrize("magnitude", [1e-45, 1e-40, 2.0**-126, 2.0**-100, 2.0**125])
def test_tiny_and_huge_gradients(method: Method, magnitude: float) -> None:
    """Unbiased as far as scales reach, 2^120: smaller ones are zero or one unit."""
    gradients = np.full((2, N, 64), magnitude, np.float32)
    means, made = train(gradients, method)[0]
    assert np.isfinite(means).all()
    assert made.statistics.clips == 0
    unit = max(magnitude * 64 / float(made.grid.top) * 2, 2.0**-120)
    assert np.abs(means.astype(float) - magnitude).max() <= 4 * unit + magnitude


@every_method
def test_elements_beyond_2_126_are_clipped(method: Method) -> None:
    gradients = np.full((1, N, 40), 3.4e38, np.float32)
    gradients[0, :, ::2] *= -1
    means, made = train(gradients, method)[0]
    np.testing.assert_allclose(means, np.sign(gradients[:, 0]) * 2.0**126, rtol=1e-6)
    assert made.statistics.clips == 40


@every_path
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [3, 199])
def test_all_workers_raise_when_one_gradient_is_not_finite(
    method: Method, bad: float, at: int
) -> None:
    """In the same step, by name; and network and compressor can go on."""
    gradients = gaussian(3)
    broken = gradients[1, 1].copy()
    broken[at] = bad
    blocks = [("weight", 120), ("bias", D - 120)]

    def work(network: LocalNetwork) -> tuple[str, Gradients]:
        made, text, means = make(method), "", []
        for step, g in enumerate(gradients[:, network.rank]):
            if step == 1:
                mine = broken.copy() if network.rank == 1 else g.copy()
                with pytest.raises(ValueError, match="step 1") as raised:
                    made.average(mine, network, blocks, out=mine)
                text = str(raised.value)
            means.append(made.average(g, network, blocks))
        return text, np.array(means)

    outcomes = results_of(run(N, work, make(method)))
    untouched = train(gradients, method)[0][0]
    where = "weight[3]" if at == 3 else "bias[79]"
    for rank, (text, means) in enumerate(outcomes):
        assert (f"{where} is not finite" if rank == 1 else "another worker") in text
        assert means.tobytes() == untouched.tobytes(), "the step left a trace"


@every_method
def test_the_gradient_may_be_overwritten(method: Method) -> None:
    gradients = gaussian(2)
    expected = train(gradients, method)[0][0]

    def work(network: LocalNetwork) -> Gradients:
        made, mine = make(method), gradients[:, network.rank].copy()
        for g in mine:
            assert made.average(g, network, out=g) is g
        return mine

    for means in results_of(run(N, work, make(method))):
        assert means.tobytes() == expected.tobytes()


@every_method
def test_the_mean_is_the_mean_of_the_shares(method: Method) -> None:
    gradients = gaussian(2)

    def work(network: LocalNetwork) -> tuple[Gradients, Gradients]:
        made = make(method)
        with pytest.raises(RuntimeError, match="no average yet"):
            made.share()
        means = [made.average(g, network) for g in gradients[:, network.rank]]
        return means[-1], made.share()

    outcomes = results_of(run(N, work, make(method)))
    shares = np.mean([share for _, share in outcomes], axis=0, dtype=float)
    np.testing.assert_allclose(outcomes[0][0], shares, rtol=1e-5, atol=1e-5)


@every_path
def test_a_loaded_state_goes_on_bit_for_bit(method: Method) -> None:
    gradients = gaussian(4)

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (make(method, seed=5) for _ in range(3))
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network) for g in mine]
        for g in mine[:2]:
            first.average(g, network)
        second.load_state_dict(first.state_dict())
        means = [second.average(g, network) for g in mine[2:]]
        return np.array(means).tobytes() == np.array(expected[2:]).tobytes()

    assert results_of(run(N, work, make(method))) == [True] * N


# options


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nuqsgd", {"bits": 2}, "bits is 2: must be one of 3, 4, 5"),
        ("qsgd", {"bits": 9}, "bits is 9: must be one of 2, 3, 4, 5, 6, 7, 8"),
        ("nuqsgd", {"norm": "l1"}, "one of l2, linf"),
        ("qsgd", {"norm": "linf"}, "qsgd has no option 'norm'"),
        ("nuqsgd", {"path": "tree"}, "one of network, gather"),
        ("nuqsgd", {"common": "mean"}, "one of exponent, max"),
        ("nuqsgd", {"levels": "none"}, "one of paper, authors"),
        ("nuqsgd", {"block_size": 64}, "take common=max"),
        ("nuqsgd", {"block_size": 0, "common": "max"}, "must be 1 or more"),
        ("nuqsgd", {"bits": 5, "result_type": "int8"}, "must be one of int16, int32"),
        ("nuqsgd", {"result_type": "int64"}, "one of int8, int16, int32"),
        ("nuqsgd", {"wire": "floats"}, "one of codes, integers"),
    ],
)
def test_wrong_options_are_told_the_right_ones(
    name: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        compressor(name, **options)
