"""Mem-SGD's theory, measured: contractions, and the bounds on memory and objective.
Numbers, no judgement. See `memsgd.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from host.compressors.selection import rand_k, shared_key, top_k
from intswitch.reproduce.datasets import (
    Vector,
    power_law,
    row_products,
    row_sums,
)
from intswitch.reproduce.estimates import Draws, Interval, interval
from intswitch.reproduce.logistic import Problem
from intswitch.reproduce.memsgd_descents import Variant, Walk

LOOKS = 20  # at memory and gradients, a run
BOUND_L2 = 0.05
LEVEL = 0.9999  # of an interval that decides a claim, of which there are several


def gaussian(seed: int, elements: int) -> NDArray[np.float32]:
    """[elements]"""
    chance = np.random.default_rng([seed, 20])
    return chance.normal(size=elements).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Contraction:
    """||x - comp_k(x)||^2 / ||x||^2, over many draws of comp_k."""

    left: Interval
    bound: float
    """1 - k/d"""


def contraction(
    vector: NDArray[np.float32], k: float, draws: int, seed: int
) -> Contraction:
    """Of random elements; k < 1: ultra-sparsification."""
    squares = vector.astype(np.float64) ** 2
    total, left = squares.sum(), []
    for draw in range(draws):
        chosen = rand_k(len(vector), k, shared_key(seed, draw))
        left.append(1 - squares[chosen].sum() / total)
    return Contraction(interval(left, LEVEL), 1 - k / len(vector))


def left_by_top(vector: NDArray[np.float32], k: int) -> float:
    """The same of the k largest, which are always the same."""
    squares = vector.astype(np.float64) ** 2
    return float(1 - squares[top_k(vector, k)].sum() / squares.sum())


def scaled_without_memory(
    vector: NDArray[np.float32], k: int, draws: int, seed: int
) -> Draws:
    """(d/k) rand_k(x): unbiased, and what it costs."""
    found = Draws(vector, seed=seed)
    for draw in range(draws):
        chosen = rand_k(len(vector), k, shared_key(seed, draw))
        estimate = np.zeros(len(vector))
        estimate[chosen] = vector[chosen] * (len(vector) / k)
        found.add(estimate)
    return found


@dataclass(frozen=True, slots=True)
class Bounds:
    """What theory allows, and what came of it."""

    memory: float
    """E ||m_t||^2 over the bound of Lemma 3.2; the largest at any look."""
    gap: float
    """E f(average) - f* over the bound of Theorem 2.4, after the last step."""
    steps: int


def bounds(method: int, seed: int, runs: int, total: int) -> Bounds:
    """On a strongly convex problem: Gaussian features of falling scale, lambda from
    BOUND_L2. k = 1, alpha = 5, a = (alpha + 2) d/k, eta_t = 8 / (mu (a + t)).

    G^2 is the largest mean square of the gradients that was met at a look, L the
    smoothness of the whole objective, mu = lambda.
    """
    problem, alpha = Problem(power_law(seed), l2=BOUND_L2), 5.0
    size, optimum = problem.samples.num_features, problem.optimum()
    variant = Variant(method=method, gamma=8.0, shift=(alpha + 2) * size)
    memories, gaps, largest = [], [], 0.0
    for number in range(runs):
        walk = Walk(problem, variant, seed + number, np.zeros(size))
        squares = []
        for _ in range(LOOKS):
            walk.go(total // LOOKS)
            eta = 8 / (problem.l2 * (variant.shift + walk.done))
            squares.append(float(walk.state.memory @ walk.state.memory) / eta**2)
            largest = max(largest, mean_square(problem, walk.state.x))
        memories.append(squares)
        gaps.append(problem.loss(walk.state.mean) - optimum.loss)
    lemma = 4 * alpha / (alpha - 4) * size**2 * largest
    distance = float(optimum.weights @ optimum.weights)
    theorem = theorem_2_4(problem, variant.shift, walk.done, largest, lemma, distance)
    memory = float(np.mean(memories, axis=0).max()) / lemma
    return Bounds(memory, float(np.mean(gaps)) / theorem, walk.done)


def theorem_2_4(
    problem: Problem, a: float, t: int, largest: float, lemma: float, distance: float
) -> float:
    """The bound on E f(average of t iterates) - f*. largest: G^2. lemma: that of Lemma
    3.2, over eta^2. distance: ||x_0 - x*||^2."""
    mu = problem.l2
    s = t / 6 * (2 * t**2 + 6 * a * t - 3 * t + 6 * a**2 - 6 * a + 1)
    return (
        4 * t * (t + 2 * a) / (mu * s) * largest
        + mu * a**3 / (8 * s) * distance
        + 64 * t * (1 + 2 * problem.smoothness() / mu) / (mu * s) * lemma
    )


def mean_square(problem: Problem, x: Vector) -> float:
    """(1/n) sum_i ||grad f_i(x)||^2."""
    samples, labels = problem.samples, problem.labels
    margins = row_products(samples, x)
    slopes = -labels / (1 + np.exp(labels * margins))
    norms = row_sums(samples, samples.values**2)
    regular = problem.l2 * slopes * margins * 2 + problem.l2**2 * float(x @ x)
    return float((slopes**2 * norms + regular).mean())
