"""Mem-SGD's claims hold for Mem-SGD, and for nothing that is broken in some way."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from reproductions import curves, some, verdicts

pytest.importorskip("torch")

from host.compressors.selection import shared_key, top_k
from intswitch.reproduce import memsgd, memsgd_descents, memsgd_figure, memsgd_theory
from intswitch.reproduce import memsgd_runs as runs
from intswitch.reproduce.claims import Quiet
from intswitch.reproduce.datasets import Dataset, dense, epsilon_twin, rcv1_twin
from intswitch.reproduce.logistic import Problem
from intswitch.reproduce.memsgd_descents import Variant, Walk
from intswitch.reproduce.memsgd_steps import (
    QSGD,
    RAND,
    SGD,
    TOP,
    largest,
    quantize,
    random_ones,
    weight_of_newest,
)
from intswitch.reproduce.training import Curve

DRAWS = 3000


# steps


@pytest.mark.parametrize("shift", [1.0, 3.5, 200.0])
def test_the_running_average_is_the_weighted_one(shift: float) -> None:
    """sum of (a + t)^2 x_t over sum of (a + t)^2, as Theorem 2.4 has it."""
    x = np.random.default_rng(0).normal(size=50)
    running = 0.0
    for t in range(50):
        running += weight_of_newest(t, shift) * (x[t] - running)
        weights = (shift + np.arange(t + 1)) ** 2
        assert running == pytest.approx(weights @ x[: t + 1] / weights.sum(), rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_largest_are_those_of_the_compressor(k: int) -> None:
    for seed in range(20):
        v = np.random.default_rng(seed).normal(size=60).astype(np.float32)
        chosen = np.zeros(k, np.int64)
        assert largest(v.astype(np.float64), k, chosen) == k
        assert np.sort(chosen).tolist() == top_k(v, k).tolist()
    assert largest(np.ones(1), k, chosen) == 1


def test_random_ones_are_different_and_equally_likely() -> None:
    counts, chosen = np.zeros(6), np.zeros(4, np.int64)
    for draw in range(6000):
        assert random_ones(6, 4, shared_key(0, 0), 4 * draw, chosen) == 4
        assert len(set(chosen.tolist())) == 4
        counts[chosen] += 1
    assert np.abs(counts - 4000).max() < 5 * np.sqrt(6000 * 4 / 6 * 2 / 6)
    assert random_ones(3, 4, shared_key(0, 0), 0, chosen) == 3


def test_quantized_steps_are_unbiased() -> None:
    v = np.random.default_rng(1).normal(size=8)
    draws = np.zeros((4000, 8))
    for number, x in enumerate(draws):
        quantize(v, 4, shared_key(0, 0), 8 * number, x)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) + v) < 5 * error).all()
    units = draws * 4 / np.linalg.norm(v)
    np.testing.assert_allclose(units, np.rint(units), atol=1e-12)
    quantize(np.zeros(8), 4, shared_key(0, 0), 0, draws[0])


def gradient(problem: Problem, row: int, x: np.ndarray) -> np.ndarray:
    """Of one sample, with the regularizer."""
    samples = problem.samples
    a = np.zeros(len(x))
    part = slice(samples.starts[row], samples.starts[row + 1])
    columns = slice(None) if samples.is_dense else samples.indices[part]
    a[columns] = samples.values[part]
    label = problem.labels[row]
    return -label * a / (1 + np.exp(label * (a @ x))) + problem.l2 * x


@pytest.mark.parametrize("method", [SGD, TOP, RAND])
@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_steps_are_those_of_the_paper(method: int, memory: bool, sparse: bool) -> None:
    """And sum of eta grad = sum of g + m: x is plain SGD's, but for the memory."""
    twin = rcv1_twin if sparse else epsilon_twin
    problem = Problem(twin(0, samples=40, features=30))
    variant = Variant(method=method, k=2, memory=memory, shift=15.0)
    walk = Walk(problem, variant, seed=1)
    x, m = walk.state.x.copy(), np.zeros(30)
    start, entered = x.copy(), np.zeros(30)
    for t in range(60):
        if len(walk.order) == 0:
            walk.go(0)
            walk.order = np.random.default_rng(t).permutation(40)
        eta = 2.0 / (problem.l2 * (t + 15.0))
        step = eta * gradient(problem, int(walk.order[0]), x)
        entered += step
        v = step + memory * m
        walk.go(1)
        sent = x - walk.state.x
        places = np.flatnonzero(np.abs(sent) > 1e-13)
        assert len(places) <= (30 if method == SGD else 2)
        np.testing.assert_allclose(sent[places], v[places], rtol=1e-9, atol=1e-12)
        if method == TOP:
            rest = np.delete(np.abs(v), places)
            assert np.abs(v[places]).min() >= rest.max() - 1e-12
        x, m = walk.state.x.copy(), v - sent
    if memory:
        left = entered - (start - x)
        np.testing.assert_allclose(walk.state.memory, left, atol=1e-10)
        np.testing.assert_allclose(m, left, atol=1e-10)


# claims, and what is broken


def contracted(monkeypatch: pytest.MonkeyPatch, choose: Any = None) -> list[bool]:
    if choose is not None:
        monkeypatch.setattr(memsgd_theory, "rand_k", choose)
    vector = memsgd_theory.gaussian(0, runs.ELEMENTS)
    outcomes = {
        k: memsgd_theory.contraction(vector, k, DRAWS, seed=0) for k in runs.COUNTS
    }
    scaled = memsgd_theory.scaled_without_memory(vector, runs.SCALED, DRAWS, seed=0)
    tops = {k: memsgd_theory.left_by_top(vector, int(k)) for k in (1, 10, 100)}
    part = some(runs.Found, contractions=outcomes, tops=tops, scaled=scaled)
    return verdicts(memsgd.contraction_claims(part))


def test_selections_contract_as_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contracted(monkeypatch) == [True, True, True]


def test_elements_that_are_not_random_enough_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of them never come; some come twice, so that there are fewer."""
    right = memsgd_theory.rand_k

    def half(size: int, k: float, key: np.uint64) -> Any:
        return right(size // 2, k, key)

    def fewer(size: int, k: float, key: np.uint64) -> Any:
        return right(size, k, key)[: max(1, int(k * 0.8))]

    assert contracted(monkeypatch, half)[2] is False
    assert contracted(monkeypatch, fewer) == [False, True, False]


def test_the_bounds_hold() -> None:
    outcomes = {
        name: memsgd_theory.bounds(method, 0, 2, 2000)
        for name, method in (("top", TOP), ("random", RAND))
    }
    assert verdicts(memsgd.bound_claims(some(runs.Found, bounds=outcomes))) == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("square", "lemma", "distance", "bound"),
    [
        (1.0, 0.0, 0.0, 4 * 3 * (3 + 2 * 2) / (0.5 * 29)),  # 168 / 29
        (0.0, 0.0, 1.0, 0.5 * 8 / (8 * 29)),  # 0.5 / 29
        (0.0, 1.0, 0.0, 64 * 3 * (1 + 2 * 1.5 / 0.5) / (0.5 * 29)),  # 2688 / 29
        (2.0, 3.0, 5.0, (2 * 168 + 3 * 2688 + 5 * 0.5) / 29),
    ],
)
def test_theorem_2_4_by_hand(
    square: float, lemma: float, distance: float, bound: float
) -> None:
    """Three steps, a = 2, mu = 0.5: S = 4 + 9 + 16 = 29; L = 2^2 / 4 + 0.5 = 1.5."""
    one = Dataset("one", dense(np.array([[2.0]])), np.ones(1))
    found = memsgd_theory.theorem_2_4(
        Problem(one, l2=0.5), 2.0, 3, square, lemma, distance
    )
    assert found == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize("twin", [epsilon_twin, rcv1_twin])
def test_the_mean_square_is_that_of_the_gradients(twin: Any) -> None:
    problem = Problem(twin(0, samples=40, features=30))
    x = np.random.default_rng(2).normal(size=30)
    squares = [float(gradient(problem, row, x) @ gradient(problem, row, x))
               for row in range(40)]  # fmt: skip
    found = memsgd_theory.mean_square(problem, x)
    assert found == pytest.approx(np.mean(squares), rel=1e-12)


SMALL = {"samples": 2500, "features": 50}


def converged(monkeypatch: pytest.MonkeyPatch, **instead: Variant) -> list[bool]:
    """Verdicts on Figure 2, perhaps with another variant in the place of one."""
    right = memsgd_descents.variants
    monkeypatch.setattr(
        memsgd_descents, "variants", lambda k, size: right(k, size) | instead
    )
    place = memsgd_descents.ground(epsilon_twin(0, **SMALL))
    convergence = memsgd_descents.converge(
        place, 1, epochs=3, seeds=range(3), progress=Quiet()
    )
    return verdicts(memsgd.figure2_claims(some(runs.Found, figure2=[convergence])))


def test_figure_2_is_as_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert converged(monkeypatch) == [True] * 4


@pytest.mark.parametrize(
    ("name", "variant", "wrong"),
    [
        ("top", Variant(method=TOP, shift=50.0, memory=False), [0, 1, 2]),
        ("top, no memory", Variant(method=TOP, shift=50.0), [1]),
        ("random", Variant(method=TOP, shift=50.0), [2]),
        ("random, no shift", Variant(method=RAND, shift=50.0), [3]),
    ],
)
def test_a_variant_that_is_another_one_is_found_out(
    monkeypatch: pytest.MonkeyPatch, name: str, variant: Variant, wrong: list[int]
) -> None:
    holds = converged(monkeypatch, **{name: variant})
    assert [number for number, each in enumerate(holds) if not each] == wrong


def test_figure_3_is_as_claimed_and_its_bits_decide() -> None:
    features = 800
    place = memsgd_descents.ground(epsilon_twin(0, samples=3000, features=features))
    race = memsgd_descents.race(place, 1, epochs=6, seeds=range(2), progress=Quiet())
    assert race.senders["SGD"].bits == 64 * features
    assert race.senders["QSGD 8 bit"].bits == 9 * features
    assert verdicts(memsgd.figure3_claims(some(runs.Found, figure3=[race]))) == [
        True,
        True,
    ]
    dear = dataclasses.replace(race.senders["top 1"], bits=640)
    spoilt = dataclasses.replace(race, senders=race.senders | {"top 1": dear})
    assert spoilt.bits("top 1") == 10 * race.bits("top 1")
    assert (
        verdicts(memsgd.figure3_claims(some(runs.Found, figure3=[spoilt])))[0] is False
    )
    never = dataclasses.replace(race, target=0.0)
    assert verdicts(memsgd.figure3_claims(some(runs.Found, figure3=[never]))) == [
        False,
        False,
    ]


def test_the_authors_accounts() -> None:
    """4.3 of the notes: bits of an update on epsilon (2,000 features)."""
    problem = Problem(epsilon_twin(0, samples=3, features=2000))
    bits = {n: round(s.bits) for n, s in memsgd_descents.senders(problem, 1).items()}
    assert bits == {
        "SGD": 128_000,
        "top 1": 64,
        "random 1": 64,
        "QSGD 8 bit": 18_000,
        "QSGD 4 bit": 2947,
        "QSGD 2 bit": 617,
    }


def curves_of(loss: float, accuracy: float, down: float) -> list[Curve]:
    """Of three seeds, whose final losses differ."""
    losses = [loss * seed for seed in (1.0, 1.1, 0.8)]
    return curves(losses, accuracy=accuracy, down=down)


TRAININGS = {
    "SGD": (0.1, 0.97, 9.0),
    "top": (0.11, 0.965, 1.0),
    "top, by messages": (0.1, 0.965, 2.0),
    "top, no memory": (0.3, 0.9, 1.0),
    "random": (0.12, 0.96, 1.0),
    "random, no memory": (0.9, 0.6, 1.0),
}


@pytest.mark.parametrize(
    ("name", "outcome", "wrong"),
    [
        ("SGD", TRAININGS["SGD"], []),
        ("top", (0.11, 0.9, 1.0), [0]),
        ("top, no memory", (0.11, 0.965, 1.0), [0]),
        ("random", (1.0, 0.96, 1.0), [1]),
        ("top, by messages", (0.1, 0.965, 0.5), [2]),
        ("top, by messages", (0.01, 0.965, 2.0), [2]),
    ],
)
def test_trainings_that_lose_are_told(
    name: str, outcome: tuple[float, float, float], wrong: list[int]
) -> None:
    outcomes = {
        n: curves_of(*each) for n, each in (TRAININGS | {name: outcome}).items()
    }
    holds = verdicts(memsgd.training_claims(some(runs.Found, curves=outcomes)))
    assert [number for number, each in enumerate(holds) if not each] == wrong


def test_trainings_that_differ_too_much_to_tell_show_nothing() -> None:
    """An interval that reaches from better to far worse is no match."""
    outcomes = {n: curves_of(*each) for n, each in TRAININGS.items()}
    outcomes["top"] = [
        *curves_of(0.05, 0.965, 1.0)[:1],
        *curves_of(0.25, 0.965, 1.0)[1:],
    ]
    holds = verdicts(memsgd.training_claims(some(runs.Found, curves=outcomes)))
    assert not holds[2]


def test_the_figure_draws_its_rows() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    place = memsgd_descents.ground(epsilon_twin(0, samples=60, features=10))
    options: Any = {"epochs": 1, "seeds": range(2), "progress": Quiet()}
    both = some(
        runs.Found,
        figure2=[memsgd_descents.converge(place, 1, **options)],
        figure3=[memsgd_descents.race(place, 1, **options)],
    )
    rows = list(memsgd_figure.rows(both))
    assert len(rows) == 2 * 6 * memsgd_descents.LOOKS
    figure = matplotlib.Figure()
    memsgd_figure.draw(figure, both)
    figure.savefig(io.BytesIO())
    for axes, panel in zip(figure.axes, ("figure 2", "figure 3"), strict=True):
        line = axes.get_lines()[1]
        drawn = [row["gap"] for row in rows if row["panel"] == panel]
        assert list(line.get_ydata()) == drawn[6:12]
    bits = [row["bits"] for row in rows if row["panel"] == "figure 3"]
    assert list(figure.axes[1].get_lines()[1].get_xdata()) == bits[6:12]


def test_a_file_takes_the_place_of_the_twins(tmp_path: Any) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text("".join(f"{i % 2} {1 + i % 5}:1 7:{i}\n" for i in range(30)))
    (only,) = runs.data_of(runs.Options(data=path), runs.QUICK)
    assert only[0].name == "tiny.txt"
    assert only[1] is None
    norms = only[0].samples.values.reshape(-1, 2) ** 2
    np.testing.assert_allclose(norms.sum(axis=1), 1)


def test_qsgd_never_remembers() -> None:
    assert Variant(method=QSGD, shift=1.0).plan(0.1, 0).memory is False
    assert Variant(method=TOP, shift=1.0).plan(0.1, 0).memory is True
