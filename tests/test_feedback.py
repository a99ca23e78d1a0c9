"""host/compressors/feedback.py: what is not transmitted comes later, whatever the
compressor; and what every compressor says of its own share."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors import compressor, names
from host.compressors.base import Compressor, Gradient
from host.compressors.exact import Exact
from host.compressors.feedback import Feedback
from host.compressors.registry import COMPRESSORS, options

N, D = 3, 200
BLOCKS = [("weight", 120), ("none", 0), ("bias", D - 120)]
TELLING = [name for name in names() if COMPRESSORS[name].tells_share()]
Gradients = NDArray[np.float32]

each_that_tells = pytest.mark.parametrize("name", TELLING)


def gaussian(steps: int, seed: int = 0) -> Gradients:
    """[steps, N, D]"""
    shape = (steps, N, D)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def coarse(name: str) -> dict[str, Any]:
    """Options that make a compressor lose much, where it has them."""
    wanted: dict[str, Any] = {
        "element_type": "int8", "rounding": "deterministic", "memory": False,
    }  # fmt: skip
    return {key: value for key, value in wanted.items() if key in options(name)}


def results(name: str, work: Callable[[LocalNetwork], Any]) -> list[Any]:
    """[N] what the workers return, in a job that has the compressor's code tables."""
    tables = compressor(name, **coarse(name)).tables(N)
    return results_of(run_workers(N, work, **tables))


def run(name: str, gradients: Gradients, **chosen: Any) -> list[Any]:
    """[N] of the means of all steps, the sum of all shares, and the compressor."""

    def work(network: LocalNetwork) -> tuple[Gradients, Gradients, Compressor]:
        made = compressor(name, **coarse(name), **chosen)
        shares, means = np.zeros(D), []
        for g in gradients[:, network.rank]:
            means.append(made.average(g, network, BLOCKS))
            inner = made.inner if isinstance(made, Feedback) else made
            shares += inner.share()
        return np.array(means), shares, made

    return results(name, work)


@each_that_tells
def test_the_mean_is_the_mean_of_the_shares(name: str) -> None:
    gradients = gaussian(3)
    for steps in (1, 3):
        outcomes = run(name, gradients[:steps])
        shares = np.mean([share for _, share, _ in outcomes], axis=0)
        np.testing.assert_allclose(
            outcomes[0][0].sum(axis=0, dtype=np.float64), shares, atol=1e-5
        )


@each_that_tells
def test_what_went_in_came_out_or_is_in_the_memory(name: str) -> None:
    """sum of the gradients = sum of the shares + memory, on every worker."""
    gradients = gaussian(8)
    for rank, (means, shares, made) in enumerate(run(name, gradients, feedback=True)):
        assert isinstance(made, Feedback)
        assert made.statistics.steps == len(means) == 8
        kept = np.concatenate([made.memory.blocks[block] for block, _ in BLOCKS])
        went_in = gradients[:, rank].sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(shares + kept, went_in, atol=1e-5)


def drift(gradients: Gradients, **chosen: Any) -> float:
    """Of the sum of the means from that of the gradients, in its norm."""
    wanted = gradients.mean(axis=1, dtype=np.float64).sum(axis=0)
    means = run("heuristic", gradients, **chosen)[0][0]
    got = means.sum(axis=0, dtype=np.float64)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def test_a_biased_compressor_loses_nothing_for_good() -> None:
    """`heuristic` clips the largest elements of a steady gradient in every step. Alone
    it drifts; with feedback the drift vanishes with the steps."""
    steady = np.repeat(gaussian(1) ** 3, 60, axis=0)
    alone, short = drift(steady), drift(steady[:20], feedback=True)
    long = drift(steady, feedback=True)
    assert alone > 0.1
    assert long < 0.5 * short < 0.05


@each_that_tells
def test_all_workers_have_the_same_bits(name: str) -> None:
    outcomes = run(name, gaussian(4), feedback=True)
    assert len({means.tobytes() for means, _, _ in outcomes}) == 1


@each_that_tells
def test_a_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    gradients = gaussian(6)

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (
            compressor(name, feedback=True, **coarse(name)) for _ in range(3)
        )
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network, BLOCKS) for g in mine]
        for g in mine[:3]:
            first.average(g, network, BLOCKS)
        second.load_state_dict(first.state_dict())
        means = [second.average(g, network, BLOCKS) for g in mine[3:]]
        return np.array(means).tobytes() == np.array(expected[3:]).tobytes()

    assert results(name, work) == [True] * N


@each_that_tells
def test_a_failed_step_leaves_the_memory(name: str) -> None:
    gradients = gaussian(3)
    expected = run(name, gradients, feedback=True)[0][0]

    def work(network: LocalNetwork) -> Gradients:
        made, means = compressor(name, feedback=True, **coarse(name)), []
        for g in gradients[:, network.rank]:
            bad = g.copy()
            bad[3] = np.nan if network.rank == 2 else 0
            with pytest.raises(ValueError, match=r"weight\[3\]|another worker"):
                made.average(bad, network, BLOCKS)
            means.append(made.average(g, network, BLOCKS))
        return np.array(means)

    for means in results(name, work):
        assert means.tobytes() == expected.tobytes()


def test_memory_goes_by_the_name_of_the_block() -> None:
    gradients = gaussian(4)
    ahead = [("a", 50), ("b", D - 50)]

    def work(network: LocalNetwork) -> tuple[Gradients, Gradients]:
        still, turned = (compressor("heuristic", feedback=True) for _ in range(2))
        for step, g in enumerate(gradients[:, network.rank]):
            expected = still.average(g, network, ahead)
            if step % 2:
                mine = np.roll(g, -50)
                mean = np.roll(turned.average(mine, network, ahead[::-1]), 50)
            else:
                mean = turned.average(g, network, ahead)
        return expected, mean

    for expected, mean in results_of(run_workers(N, work)):
        assert mean.tobytes() == expected.tobytes()


@pytest.mark.parametrize("d", [0, 1])
def test_any_number_of_elements(d: int) -> None:
    def work(network: LocalNetwork) -> Gradient:
        made = compressor("intsgd", feedback=True)
        return made.average(np.full(d, 3, np.float32), network)

    for mean in results_of(run_workers(N, work)):
        np.testing.assert_allclose(mean, np.full(d, 3), rtol=0.05)


def test_the_gradient_is_not_changed_and_may_be_the_output() -> None:
    gradients = gaussian(2)

    def work(network: LocalNetwork) -> tuple[Gradients, Gradients]:
        apart, over = (compressor("heuristic", feedback=True) for _ in range(2))
        means, mine = [], gradients[:, network.rank].copy()
        for before, g in zip(gradients[:, network.rank], mine, strict=True):
            means.append(apart.average(g, network))
            np.testing.assert_array_equal(g, before)
            over.average(g, network, out=g)
        return np.array(means), mine

    for means, outputs in results_of(run_workers(N, work)):
        assert means.tobytes() == outputs.tobytes()


def test_a_share_cannot_be_told_once_the_gradient_is_gone() -> None:
    def work(network: LocalNetwork) -> None:
        made, g = compressor("heuristic"), np.ones(D, np.float32)
        with pytest.raises(RuntimeError, match="no average yet"):
            made.share()
        made.average(g, network, out=g)
        with pytest.raises(RuntimeError, match="written over the gradient"):
            made.share()

    results_of(run_workers(N, work))


def test_exact_has_nothing_to_feed_back() -> None:
    with pytest.raises(ValueError, match="Exact does not tell its share"):
        Feedback(Exact())
    with pytest.raises(ValueError, match="exact has no option 'feedback'"):
        compressor("exact", feedback=True)
    assert options("intsgd")["feedback"].default is False
    assert "feedback" not in inspect.signature(COMPRESSORS["intsgd"]).parameters


def test_a_compressor_with_a_memory_of_its_own_is_refused() -> None:
    """With both, every gradient would get the same rest twice, and the means grow
    without bound."""
    with pytest.raises(ValueError, match=r"MemSGD remembers .* memory=false"):
        compressor("memsgd", feedback=True)
    assert isinstance(compressor("memsgd", feedback=True, memory=False), Feedback)
