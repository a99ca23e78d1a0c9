"""The experiments behind Mem-SGD's claims: numbers, no judgement. See `memsgd.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from host.compressors.selection import rand_k, shared_key, top_k
from intswitch.reproduce.datasets import Dataset, Vector
from intswitch.reproduce.estimates import Draws, Interval, interval
from intswitch.reproduce.logistic import Problem
from intswitch.reproduce.memsgd_steps import (
    QSGD,
    RAND,
    SGD,
    TOP,
    Plan,
    State,
    steps,
)

ENTRY_BITS = 64
"""Of an index and a value, in the authors' accounts."""
MOST_STEPS = 300_000
"""Of one descent: a large data file is not gone through three times."""


def gaussian_cubes(seed: int, elements: int) -> NDArray[np.float32]:
    """[elements] of very different sizes, as gradients are."""
    chance = np.random.default_rng([seed, 20])
    return (chance.normal(size=elements) ** 3).astype(np.float32)


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
    return Contraction(interval(left), 1 - k / len(vector))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A line of the paper's figures."""

    method: int
    k: int = 1
    memory: bool = True
    gamma: float = 2.0
    shift: float
    """a"""
    weighted: bool = True

    def plan(self, l2: float, seed: int) -> Plan:
        memory = self.memory and self.method != QSGD
        key = shared_key(seed, self.k)
        return Plan(
            self.method, self.k, memory, l2, self.gamma, self.shift, self.weighted, key
        )


def bottou(method: int, k: int, first: float, l2: float) -> Variant:
    """g_0 / (1 + g_0 lambda t), and the plain mean of the iterates."""
    return Variant(
        method=method, k=k, gamma=1.0, shift=1 / (first * l2), weighted=False
    )


@dataclass(frozen=True, slots=True)
class Descent:
    """What one run came to."""

    steps: list[int]
    """Done at each look."""
    gaps: list[float]
    """Objective at the average of the iterates, above the optimum."""


class Walk:
    """One run, a part at a time: samples in a new order each epoch, as in the authors'
    code; it starts from normal numbers of deviation 0.01, or where it is told."""

    def __init__(
        self, problem: Problem, variant: Variant, seed: int, start: Vector | None = None
    ) -> None:
        size = problem.samples.num_features
        self.problem = problem
        self.chance = np.random.default_rng([seed, 21])
        if start is None:
            start = 0.01 * self.chance.normal(size=size)
        self.plan = variant.plan(problem.l2, seed)
        chosen = np.zeros(variant.k, np.int64)
        self.state = State(start.copy(), np.zeros(size), np.zeros(size), chosen)
        self.order = np.zeros(0, np.int64)
        self.done = 0

    def go(self, count: int) -> None:
        """So many steps."""
        samples, labels = self.problem.samples, self.problem.labels
        while len(self.order) < count:
            epoch = self.chance.permutation(samples.num_samples)
            self.order = np.concatenate([self.order, epoch])
        part, self.order = self.order[:count], self.order[count:]
        steps(samples, labels, part, self.done, self.plan, self.state)
        self.done += count


def descend(
    problem: Problem,
    optimum: float,
    variant: Variant,
    *,
    total: int,
    looks: int,
    seed: int,
) -> Descent:
    """`total` steps, with `looks` at the objective on the way."""
    walk, found = Walk(problem, variant, seed), Descent([], [])
    for count in np.diff(np.linspace(0, total, looks + 1).astype(int)).tolist():
        walk.go(count)
        found.steps.append(walk.done)
        found.gaps.append(problem.loss(walk.state.mean) - optimum)
    return found


@dataclass(frozen=True, slots=True)
class Figure2:
    """Convergence of the variants on one data set."""

    dataset: Dataset
    k: int
    epochs: float
    optimum: float
    descents: Mapping[str, Sequence[Descent]]
    """A run for every seed."""

    def gap(self, name: str, look: int = -1) -> Interval:
        return interval([each.gaps[look] for each in self.descents[name]], 0.95)

    def ratio(self, name: str, other: str, look: int = -1) -> Interval:
        """Of the gaps, seed by seed."""
        pairs = zip(self.descents[name], self.descents[other], strict=True)
        return interval([a.gaps[look] / b.gaps[look] for a, b in pairs], 0.95)


def variants(k: int, size: int) -> dict[str, Variant]:
    """Of Figure 2: a = d/k, but d for SGD and for the largest elements; no shift: 1."""
    few, more = size / k, size / (3 * k)
    return {
        "SGD": Variant(method=SGD, shift=size),
        f"top {k}": Variant(method=TOP, k=k, shift=few),
        f"top {k}, no memory": Variant(method=TOP, k=k, shift=few, memory=False),
        f"random {k}": Variant(method=RAND, k=k, shift=few),
        f"random {k}, no shift": Variant(method=RAND, k=k, shift=1.0),
        f"random {3 * k}": Variant(method=RAND, k=3 * k, shift=more),
    }
