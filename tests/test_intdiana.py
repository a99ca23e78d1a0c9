"""host/compressors/intdiana.py: heterogeneous data, where IntSGD's integers diverge."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.base import Compressor, Statistics
from host.compressors.intdiana import IntDIANA
from host.compressors.intsgd import IntSGD

N, D, SAMPLES, L2 = 12, 100, 50, 0.05
Floats = NDArray[np.float64]


class Outcome(NamedTuple):
    statistics: Statistics
    gradient: float
    """Norm of the whole gradient at the end."""


class Regression:
    """Logistic regression whose workers see different classes and features."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        shift = 2 * rng.normal(size=(N, 1, D))
        rows = rng.normal(size=(N, SAMPLES, D)) + shift
        self.rows = rows / np.linalg.norm(rows, axis=2, keepdims=True)
        self.labels = np.where(np.arange(N) % 2, 1.0, -1.0)[:, None] * np.ones(SAMPLES)

    def gradient(self, rank: int, x: Floats) -> Floats:
        margins = self.labels[rank] * (self.rows[rank] @ x)
        weights = -self.labels[rank] / (1 + np.exp(margins)) / SAMPLES
        return weights @ self.rows[rank] + L2 * x

    def descend(self, compressor: Compressor, network: LocalNetwork) -> Outcome:
        """What came of 150 steps; integers are those after the first."""
        x = np.zeros(D)
        for step in range(150):
            own = self.gradient(network.rank, x).astype(np.float32)
            x -= 2.0 * compressor.average(own, network)
            if step == 0:
                compressor.statistics = Statistics()
        whole = np.mean([self.gradient(rank, x) for rank in range(N)], axis=0)
        return Outcome(compressor.statistics, float(np.linalg.norm(whole)))


def run(make: Callable[[], Compressor]) -> list[Outcome]:
    regression = Regression()
    return results_of(
        run_workers(
            N, lambda network: regression.descend(make(), network), slot_bytes=1024
        )
    )


def test_integers_stay_small_where_those_of_intsgd_diverge() -> None:
    """The paper's claim, without clipping: in int32."""
    options: dict[str, Any] = {"element_type": "int32", "scale": "plain"}
    intsgd = run(lambda: IntSGD(**options))
    intdiana = run(lambda: IntDIANA(**options))
    assert max(each.statistics.largest_integer for each in intsgd) > 1_000_000
    assert max(each.statistics.largest_integer for each in intdiana) <= 3
    assert max(each.statistics.largest_sum for each in intsgd + intdiana) <= 16
    assert intdiana[0].gradient < 1e-5


def test_in_int8_only_a_memory_converges() -> None:
    intsgd, intdiana = run(IntSGD), run(IntDIANA)
    assert intdiana[0].gradient < 1e-5
    assert intsgd[0].gradient > 1e-2
    assert sum(each.statistics.clips for each in intsgd) > 1000
    assert sum(each.statistics.clips for each in intdiana) == 0


def gradients_of(steps: int, n: int = 4, d: int = 130) -> NDArray[np.float32]:
    """[steps, n, d]: every worker's own vector, and some noise."""
    rng = np.random.default_rng(1)
    own = rng.normal(size=(1, n, d))
    return (own + 0.1 * rng.normal(size=(steps, n, d))).astype(np.float32)


def steps_of(
    gradients: NDArray[np.float32], blocks: Any = None, **options: Any
) -> list[tuple[NDArray[np.float32], IntDIANA]]:
    def work(network: LocalNetwork) -> tuple[NDArray[np.float32], IntDIANA]:
        intdiana = IntDIANA(**options)
        means = [intdiana.average(g[network.rank], network, blocks) for g in gradients]
        return np.array(means), intdiana

    return results_of(run_workers(gradients.shape[1], work))


@pytest.mark.parametrize("element_type", ["int8", "int16", "int32"])
@pytest.mark.parametrize("result_type", [None, "int32"])
def test_the_mean_is_the_mean_of_the_memories(
    element_type: str, result_type: str | None
) -> None:
    """After every step: h = mean of h_i, and the estimate is h."""
    types = {"element_type": element_type, "result_type": result_type}
    outcomes = steps_of(gradients_of(5), **types)
    own = np.mean([each.own.blocks["gradient"] for _, each in outcomes], axis=0)
    for means, intdiana in outcomes:
        assert means.tobytes() == outcomes[0][0].tobytes()
        np.testing.assert_array_equal(intdiana.shared.blocks["gradient"], means[-1])
        np.testing.assert_allclose(own, means[-1], atol=1e-6)


def test_memories_learn_the_gradients() -> None:
    """With constant gradients and scale, h_i is within 1 / alpha of g_i after one step;
    the difference is then -1, 0 or 1, and the estimate is off by 1 / alpha at most."""
    alpha, gradients = 4.0, np.repeat(gradients_of(1), 20, axis=0)
    sigma = math.sqrt(gradients.shape[2]) / alpha
    for rank, (means, intdiana) in enumerate(
        steps_of(gradients, scale="constant", sigma=sigma, element_type="int16")
    ):
        distance = intdiana.own.blocks["gradient"] - gradients[0, rank]
        assert 0.1 < np.abs(distance).max() * alpha <= 1 + 1e-5
        assert np.abs(means - gradients.mean(axis=1)).max() * alpha <= 1 + 1e-5


def test_memory_goes_by_the_name_of_the_block() -> None:
    """The same layers in another order give the same means, where rounding is exact."""
    gradients = gradients_of(4)
    options = {"element_type": "int32", "first": "constant", "alpha_init": 1e6}
    options |= {"rounding": "deterministic", "scale": "constant", "sigma": 1e-5}
    ahead = steps_of(gradients, [("a", 50), ("b", 80)], **options)[0][0]

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        intdiana, means = IntDIANA(**options), []
        for step, g in enumerate(gradients[:, network.rank]):
            if step % 2:
                turned, blocks = np.roll(g, 80), [("b", 80), ("a", 50)]
                mean = intdiana.average(turned, network, blocks)
                means.append(np.roll(mean, -80))
            else:
                means.append(intdiana.average(g, network, [("a", 50), ("b", 80)]))
        return np.array(means)

    for means in results_of(run_workers(4, work)):
        np.testing.assert_array_equal(means, ahead)


def test_a_loaded_state_goes_on_bit_for_bit() -> None:
    gradients = gradients_of(6)

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (IntDIANA() for _ in range(3))
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network) for g in mine]
        for g in mine[:3]:
            first.average(g, network)
        state = first.state_dict()
        second.load_state_dict(state)
        first.average(mine[3], network)  # leaves the state alone that it gave away
        means = [second.average(g, network) for g in mine[3:]]
        return np.array(means).tobytes() == np.array(expected[3:]).tobytes()

    assert results_of(run_workers(4, work)) == [True] * 4


def test_what_the_caller_does_with_the_mean_is_not_remembered() -> None:
    gradients = gradients_of(3)
    expected = steps_of(gradients)[0][0]

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        intdiana, means = IntDIANA(), []
        for g in gradients[:, network.rank]:
            mean = intdiana.average(g, network)
            means.append(mean.copy())
            mean[:] = 1000
        return np.array(means)

    for means in results_of(run_workers(4, work)):
        assert means.tobytes() == expected.tobytes()


def test_a_failed_step_leaves_the_memory() -> None:
    gradients = gradients_of(3)
    expected = steps_of(gradients)[0][0]

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        intdiana, means = IntDIANA(), []
        for g in gradients[:, network.rank]:
            bad = g.copy()
            bad[3] = np.nan if network.rank == 2 else 0
            with pytest.raises(ValueError, match=r"gradient\[3\]|another worker"):
                intdiana.average(bad, network)
            means.append(intdiana.average(g, network))
        return np.array(means)

    for means in results_of(run_workers(4, work)):
        assert means.tobytes() == expected.tobytes()


@pytest.mark.parametrize("d", [0, 1, 65])
def test_any_number_of_elements(d: int) -> None:
    gradients = gradients_of(2, d=d)
    means = steps_of(gradients, element_type="int32")[0][0]
    np.testing.assert_allclose(means[0], gradients[0].mean(axis=0), atol=1e-6)
