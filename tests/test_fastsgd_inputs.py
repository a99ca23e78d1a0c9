"""host/compressors/fastsgd.py: unusual gradients, options, state."""

import math
from typing import Any

import numpy as np
import pytest
from averaging import PATHS, Gradients, N, average, of_many_magnitudes, run
from local_network import LocalNetwork, run_workers

from host.compressors import compressor
from host.compressors.fastsgd import FastSGD

on_both_paths = pytest.mark.parametrize("path", PATHS)

# unusual gradients


@on_both_paths
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("scale", ["one", "max"])
@pytest.mark.parametrize("d", [0, 1, 255, 257])
def test_zeros_and_any_number_of_elements(
    path: str, dense: bool, scale: str, d: int
) -> None:
    options: dict[str, Any] = {"path": path, "dense": dense, "scale": scale}
    zeros = np.zeros((N, d), np.float32)
    assert not average(zeros, **options)[0][0].any()
    powers = np.full((N, d), 0.25, np.float32)
    np.testing.assert_array_equal(average(powers, **options)[0][0], powers[0])


@on_both_paths
@pytest.mark.parametrize("scale", ["one", "max"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_all_workers_raise_when_one_is_not_finite(
    path: str, scale: str, bad: float
) -> None:
    """And the network can be used further, as if that step had not been."""
    gradients = of_many_magnitudes(100)
    broken = gradients.copy()
    broken[2, 40] = bad
    options: dict[str, Any] = {"path": path, "scale": scale, "rounding": "random"}

    def work(network: LocalNetwork) -> Gradients:
        made = FastSGD(**options)
        text = r"gradient\[40\] is not" if network.rank == 2 else "of another worker"
        with pytest.raises(ValueError, match=text):
            made.average(broken[network.rank], network)
        return made.average(gradients[network.rank], network)

    expected = average(gradients, **options)[0][0]
    for mean in run(work, FastSGD(**options)):
        assert mean.tobytes() == expected.tobytes()


def test_a_message_that_is_none_is_refused_with_its_sender() -> None:
    """By all workers alike: here the others' threshold is another one."""
    gradients = of_many_magnitudes(100)

    def work(network: LocalNetwork) -> None:
        made = FastSGD(path="gather", threshold=30 if network.rank == 1 else 14)
        made.average(gradients[network.rank], network)

    outcomes = run_workers(N, work)
    for rank in (0, 2, 3):
        with pytest.raises(ValueError, match=r"worker 1, step 0: malformed gradient"):
            raise outcomes[rank]
    with pytest.raises(ValueError, match=r"worker 0, step 0: malformed gradient"):
        raise outcomes[1]


@on_both_paths
def test_denormals_are_nothing_and_tiny_gradients_have_an_m_of_their_own(
    path: str,
) -> None:
    denormal = np.full((N, 9), 1e-40, np.float32)
    for scale in ("one", "max"):
        assert not average(denormal, path=path, scale=scale)[0][0].any()
    tiny = np.full((N, 9), 2.0**-100, np.float32)
    (mean, _), *_ = average(tiny, path=path, scale="max")
    np.testing.assert_array_equal(mean, tiny[0])
    assert not average(tiny, path=path)[0][0].any()


@on_both_paths
def test_what_is_beyond_m_is_clipped_and_counted(path: str) -> None:
    gradients = np.full((N, 9), 0.5, np.float32)
    gradients[1, :3] = [5, -5, 3e38]
    (mean, _), (_, made), *_ = average(gradients, path=path)
    np.testing.assert_array_equal(mean[:4], [0.625, 0.125, 0.625, 0.5])
    assert made.statistics.clips == 3
    gradients[1, 2] = 0.5
    (mean, _), (_, made), *_ = average(gradients, path=path, scale="max", threshold=20)
    assert mean[0] == (3 * 0.5 + 4) / N  # 5 goes to 4
    assert made.statistics.clips == 0


def test_the_gradient_may_be_overwritten() -> None:
    gradients = of_many_magnitudes(300)
    for path in PATHS:
        expected = average(gradients, path=path)[0][0]

        def work(network: LocalNetwork, path: str = path) -> Gradients:
            mine = gradients[network.rank].copy()
            made = FastSGD(path=path)
            made.average(mine, network, out=mine)
            np.testing.assert_array_equal(
                made.share() != 0, np.abs(gradients[network.rank]) > 2**-14.5
            )
            return mine

        for mean in run(work, FastSGD(path=path)):
            assert mean.tobytes() == expected.tobytes()


# options and state


def test_state_goes_on_where_it_was_saved() -> None:
    gradients = of_many_magnitudes(200)

    def work(network: LocalNetwork) -> tuple[Gradients, Gradients]:
        first = FastSGD(rounding="random", seed=3)
        mine = gradients[network.rank]
        first.average(mine, network)
        second = FastSGD(rounding="random", seed=3)
        second.load_state_dict(first.state_dict())
        return first.average(mine, network), second.average(mine, network)

    for first, second in run(work, FastSGD()):
        assert first.tobytes() == second.tobytes()


def test_random_rounding_repeats_from_its_seed() -> None:
    gradients = of_many_magnitudes(200)
    once, again, other = (
        average(gradients, rounding="random", seed=seed)[0][0].tobytes()
        for seed in (1, 1, 2)
    )
    assert once == again != other


def test_there_is_no_share_before_an_average() -> None:
    with pytest.raises(RuntimeError, match="there has been no average yet"):
        FastSGD().share()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"base": 1}, "base is 1.0"),
        ({"threshold": 127}, "threshold is 127"),
        ({"threshold": 6.5}, "threshold is 6.5: must be int"),
        ({"rounding": "up"}, "rounding is 'up'"),
        ({"scale": "two"}, "scale is 'two': must be one of one, max"),
        ({"wire": "copper"}, "wire is 'copper': must be one of codes, integers"),
        ({"path": "pigeon"}, "path is 'pigeon': must be one of network, gather"),
        ({"result_type": "int4"}, "result_type is 'int4'"),
        ({"dense": 1}, "dense is 1: must be bool"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        compressor("fastsgd", **options)
