"""host/compressors/memsgd.py: the algorithm, and that nothing is lost, only late."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from memsgd_runs import FORMS, D, Floats, Gradients, N, dyadic, every_form, run

from host.compressors import compressor
from host.compressors.base import Gradient, Layout, Network
from host.compressors.memsgd import MemSGD, Part
from host.compressors.selection import rand_k, shared_key, top_k
from host.packetizer import Integers

# the algorithm


def reference(gradients: Gradients, form: dict[str, Any]) -> tuple[Floats, Floats]:
    """The module's formulas in float64, one line each: ([steps, d] means, [n, d]
    memories)."""
    _, n, d = gradients.shape
    memory, means = np.zeros((n, d)), []
    for step, g in enumerate(gradients.astype(np.float64)):
        u, c = memory + g, np.zeros((n, d))
        for i in range(n):
            if form["select"] == "top":
                chosen = np.lexsort((np.arange(d), -np.abs(u[i])))[: form["k"]]
            else:
                chosen = rand_k(d, form["k"], shared_key(0, step))
            c[i, chosen] = u[i, chosen]
        means.append(c.mean(axis=0))
        memory = u - c
    return np.array(means), memory


@every_form
def test_messages_do_what_the_paper_says(form: dict[str, Any]) -> None:
    """Exactly: of these gradients every float32 operation is exact."""
    gradients = dyadic(12)
    means, memory = reference(gradients, form)
    for rank, outcome in enumerate(run(gradients, **{**form, "path": "gather"})):
        np.testing.assert_array_equal(np.array(outcome.means), means)
        np.testing.assert_array_equal(outcome.memories[-1], memory[rank])


@pytest.mark.parametrize("form", FORMS[1:3], ids=str)
def test_random_elements_in_the_network_do_so_up_to_rounding(
    form: dict[str, Any],
) -> None:
    gradients = dyadic(12)
    means, memory = reference(gradients, form)
    for rank, outcome in enumerate(run(gradients, element_type="int32", **form)):
        np.testing.assert_allclose(np.array(outcome.means), means, atol=1e-5)
        np.testing.assert_allclose(outcome.memories[-1], memory[rank], atol=1e-5)


def test_the_union_of_the_tops_is_sent_whole() -> None:
    """By every worker: on it the memory is what rounding left, elsewhere all of u."""
    gradients = dyadic(5)
    outcomes = run(gradients, select="top", k=7)
    unions = []
    for step, g in enumerate(gradients):
        u = [g[i] + o.memories[step - 1] * (step > 0) for i, o in enumerate(outcomes)]
        union = sorted({int(at) for each in u for at in top_k(each, 7)})
        largest = max(float(np.abs(each).max()) for each in u)
        half_a_step = largest / (127 // N)  # the scale may be half of what would fit
        for each, outcome in zip(u, outcomes, strict=True):
            kept = outcome.memories[step]
            assert np.abs(kept[union]).max() <= half_a_step
            elsewhere = np.delete(np.arange(D), union)
            np.testing.assert_array_equal(kept[elsewhere], each[elsewhere])
        unions.append(len(union))
    assert all(7 < size <= 7 * N for size in unions)


# nothing is lost


def check_nothing_is_lost(
    form: dict[str, Any], make: Callable[..., MemSGD] = MemSGD, atol: float = 2e-5
) -> None:
    """sum of a worker's gradients = sum of its shares + its memory; and the mean is
    that of the shares."""
    gradients = dyadic(20)
    outcomes = run(gradients, make, [("a", 100), ("b", D - 100)], **form)
    for rank, outcome in enumerate(outcomes):
        went_in = gradients[:, rank].sum(axis=0, dtype=np.float64)
        came_out = np.sum(outcome.shares, axis=0, dtype=np.float64)
        error = np.abs(came_out + outcome.memories[-1] - went_in).max()
        assert error <= atol
    shares = np.mean([outcome.shares for outcome in outcomes], axis=0, dtype=float)
    assert np.abs(shares - outcomes[0].means).max() <= atol


@every_form
def test_nothing_is_lost(form: dict[str, Any]) -> None:
    """Bit for bit where values travel; in the network within the rounding of float32
    (20 steps, shares up to 40: 20 * 40 * 2^-24 is 5e-5, and errors differ in sign)."""
    check_nothing_is_lost(form, atol=0.0 if form["path"] == "gather" else 2e-5)


@pytest.mark.parametrize("rounding", ["random", "deterministic"])
@pytest.mark.parametrize("element_type", ["int8", "int16", "int32"])
@pytest.mark.parametrize("select", ["top", "rand"])
def test_nothing_is_lost_whatever_the_rounding(
    select: str, element_type: str, rounding: str
) -> None:
    check_nothing_is_lost(
        {"select": select, "element_type": element_type, "rounding": rounding, "k": 9}
    )


class ForgetsRounding(MemSGD):
    """Takes all of u off the memory, instead of what was sent."""

    def by_sum(self, wanted: Gradient, *rest: Any) -> Part:
        indices, _ = super().by_sum(wanted, *rest)
        return indices, wanted[indices]


class ForgetsTheUnion(MemSGD):
    """Takes its own top k off the memory, and not all of the union."""

    def by_sum(self, wanted: Gradient, chosen: Integers, *rest: Any) -> Part:
        indices, values = super().by_sum(wanted, chosen, *rest)
        own = np.isin(indices, chosen)
        return indices[own], values[own]


class SendsUnscaled(MemSGD):
    """Forgets to divide by n."""

    def by_messages(
        self,
        wanted: Gradient,
        chosen: Integers,
        mean: Gradient,
        network: Network,
        layout: Layout,
    ) -> Part:
        part = super().by_messages(wanted, chosen, mean, network, layout)
        mean *= np.float32(network.num_workers)
        return part


@pytest.mark.parametrize(
    ("broken", "form"),
    [
        (ForgetsRounding, FORMS[0]),
        (ForgetsRounding, FORMS[1]),
        (ForgetsTheUnion, FORMS[0]),
        (SendsUnscaled, FORMS[3]),
    ],
)
def test_the_check_fails_where_something_is_lost(
    broken: type[MemSGD], form: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError):
        check_nothing_is_lost(form, broken)


@pytest.mark.parametrize("select", ["top", "rand"])
def test_without_memory_most_is_lost(select: str) -> None:
    """A steady gradient, one element a step. With memory the sum of the means is as far
    off after 400 steps as after 200; without it the distance doubles."""
    steady = np.repeat(dyadic(1, d=20), 400, axis=0)
    drift = {}
    for memory in (True, False):
        outcome = run(steady, select=select, k=1, memory=memory, path="gather")[0]
        drift[memory] = [
            np.linalg.norm(
                np.sum(outcome.means[:steps], axis=0)
                - steady[:steps].mean(axis=1).sum(axis=0)
            )
            for steps in (200, 400)
        ]
    assert drift[True][1] < 1.3 * drift[True][0]
    assert drift[False][1] == pytest.approx(2 * drift[False][0], rel=0.1)
    assert drift[False][1] > 5 * drift[True][1]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_feedback_around_it_is_its_memory(form: dict[str, Any]) -> None:
    gradients = dyadic(6)
    with_memory = run(gradients, **form)

    def work(network: LocalNetwork) -> Gradients:
        made = compressor("memsgd", feedback=True, memory=False, **form)
        means = [made.average(g, network) for g in gradients[:, network.rank]]
        return np.array(means)

    for means, expected in zip(
        results_of(run_workers(N, work)), with_memory, strict=True
    ):
        assert means.tobytes() == np.array(expected.means).tobytes()


# the step size


def test_the_step_size_is_applied_where_the_gradient_enters() -> None:
    """By hand: weights 1, 1/2, 1/3 of (4, 1); the largest of two leaves."""
    steady = np.full((3, 1, 2), [4, 1], np.float32)
    outcome = run(steady, k=1, shift=1.0, path="gather")[0]
    np.testing.assert_allclose(outcome.means, [[4, 0], [2, 0], [0, 11 / 6]], rtol=1e-6)
    np.testing.assert_allclose(outcome.memories[-1], [4 / 3, 0], rtol=1e-6)


class Lemma:
    """Lemma 3.2 of the paper, on a strongly convex problem.

    f = mean of f_i, f_i(x) = ||x - b_i||^2 / 2, so mu = L = 1. With
    eta_t = 8 / (mu (a + t)), alpha > 4 and a >= (alpha + 1) d/k + rho / (rho + 1):
    E ||m_t||^2 <= eta_t^2 (4 alpha / (alpha - 4)) (d/k)^2 G^2.
    """

    D, ALPHA, STEPS, SEEDS = 10, 5.0, 1500, 8

    def __init__(self, select: str, make: Callable[..., MemSGD]) -> None:
        self.select, self.make = select, make
        self.shift = (self.ALPHA + 2) * self.D  # k = 1
        self.targets = np.random.default_rng(5).normal(size=(50, self.D))

    def descend(self, seed: int, network: LocalNetwork) -> tuple[Floats, float]:
        """||m_t||^2 in the paper's units after every step; the largest mean square of
        the gradients that was met (G^2)."""
        rng = np.random.default_rng(seed)
        made = self.make(
            select=self.select, k=1, shift=self.shift, path="gather", seed=seed
        )
        first, x = 8 / self.shift, np.zeros(self.D)
        squares, largest = [], 0.0
        for _ in range(self.STEPS):
            largest = max(largest, float(((x - self.targets) ** 2).sum(axis=1).mean()))
            g = x - self.targets[rng.integers(len(self.targets))]
            x = x - first * made.average(g.astype(np.float32), network)
            assert made.memory is not None
            kept = made.memory.blocks["gradient"].astype(np.float64)
            squares.append(first**2 * float(kept @ kept))
        return np.array(squares), largest

    def check(self) -> None:
        """At every step, the mean over the seeds."""

        def work(network: LocalNetwork) -> list[tuple[Floats, float]]:
            return [self.descend(seed, network) for seed in range(self.SEEDS)]

        descents = results_of(run_workers(1, work))[0]
        measured = np.mean([squares for squares, _ in descents], axis=0)
        bound_of_gradients = max(largest for _, largest in descents)
        t = np.arange(1, self.STEPS + 1)
        step_size = 8 / (self.shift + t)
        factor = 4 * self.ALPHA / (self.ALPHA - 4) * self.D**2
        assert (measured <= step_size**2 * factor * bound_of_gradients).all()
        assert measured[-1] > 0.001 * step_size[-1] ** 2 * self.D**2, "no memory at all"


class ConstantStepSize(MemSGD):
    def weight(self) -> np.float32:
        return np.float32(1)


@pytest.mark.parametrize("select", ["top", "rand"])
def test_the_memory_stays_within_the_bound_of_lemma_3_2(select: str) -> None:
    Lemma(select, MemSGD).check()


def test_the_bound_does_not_hold_where_the_step_size_does_not_fall() -> None:
    with pytest.raises(AssertionError):
        Lemma("rand", ConstantStepSize).check()
