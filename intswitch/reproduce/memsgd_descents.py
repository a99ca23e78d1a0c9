"""The descents behind Mem-SGD's claims: numbers, no judgement. See `memsgd.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from host.compressors.selection import shared_key
from intswitch.reproduce.claims import Progress
from intswitch.reproduce.datasets import Dataset, Vector
from intswitch.reproduce.estimates import Interval, interval
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
LOOKS = 6  # at the objective, an epoch
LEVEL = 0.95
FIRSTS = (1.0, 10.0, 100.0)
TUNING_SEED = 1000


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


@dataclass(frozen=True, slots=True)
class Ground:
    """What is descended on."""

    dataset: Dataset
    problem: Problem
    optimum: float
    start: float
    """Gap at zero."""

    def steps(self, epochs: int) -> int:
        return min(epochs * self.problem.samples.num_samples, MOST_STEPS)


def ground(dataset: Dataset) -> Ground:
    """lambda = 1/n, as in the paper."""
    problem = Problem(dataset)
    optimum = problem.optimum().loss
    start = problem.loss(np.zeros(problem.samples.num_features)) - optimum
    return Ground(dataset, problem, optimum, start)


def descend(
    ground: Ground, variant: Variant, *, total: int, looks: int, seed: int
) -> Descent:
    """`total` steps, with `looks` at the objective on the way."""
    walk, found = Walk(ground.problem, variant, seed), Descent([], [])
    for count in np.diff(np.linspace(0, total, looks + 1).astype(int)).tolist():
        walk.go(count)
        found.steps.append(walk.done)
        found.gaps.append(ground.problem.loss(walk.state.mean) - ground.optimum)
    return found


@dataclass(frozen=True, slots=True)
class Convergence:
    """Several methods on the same ground, a descent for every seed."""

    ground: Ground
    k: int
    epochs: int
    descents: Mapping[str, Sequence[Descent]]

    def ratio(self, name: str, other: str, look: int = -1) -> Interval:
        """Of the gaps, seed by seed."""
        pairs = zip(self.descents[name], self.descents[other], strict=True)
        return interval([a.gaps[look] / b.gaps[look] for a, b in pairs], LEVEL)

    def orders(self, name: str, other: str, look: int = -1) -> Interval:
        """log10 of the ratios: for such as are far from 1."""
        pairs = zip(self.descents[name], self.descents[other], strict=True)
        logs = [math.log10(a.gaps[look] / b.gaps[look]) for a, b in pairs]
        return interval(logs, LEVEL)

    def mean_gaps(self, name: str) -> list[float]:
        """At every look, over the seeds."""
        gaps = [descent.gaps for descent in self.descents[name]]
        return [fmean(each) for each in zip(*gaps, strict=True)]


def variants(k: int, size: int) -> dict[str, Variant]:
    """Of Figure 2, with a = d/k; SGD with d. No shift: 1. Without memory nothing is
    remembered for d/k steps; it has the same shift, as in the paper."""
    few, more = size / k, size / (3 * k)
    return {
        "SGD": Variant(method=SGD, shift=size),
        "top": Variant(method=TOP, k=k, shift=few),
        "top, no memory": Variant(method=TOP, k=k, shift=few, memory=False),
        "random": Variant(method=RAND, k=k, shift=few),
        "random, no shift": Variant(method=RAND, k=k, shift=1.0),
        "random, 3 k": Variant(method=RAND, k=3 * k, shift=more),
    }


def converge(
    ground: Ground, k: int, *, epochs: int, seeds: Sequence[int], progress: Progress
) -> Convergence:
    """Figure 2."""
    total, looks = ground.steps(epochs), LOOKS * epochs
    found = variants(k, ground.problem.samples.num_features)
    text = f"Figure 2, {ground.dataset.name}"
    descents = {
        name: [
            descend(ground, variant, total=total, looks=looks, seed=seed)
            for seed in seeds
        ]
        for name, variant in progress.over(list(found.items()), text)
    }
    return Convergence(ground, k, epochs, descents)


@dataclass(frozen=True, slots=True)
class Sender:
    """A method of Figure 3."""

    method: int
    k: int
    """Elements, or levels."""
    bits: float
    """Of a step, in the authors' accounts."""


def senders(problem: Problem, k: int) -> dict[str, Sender]:
    """SGD sends the sample's elements with their indices; QSGD whatever is shorter of
    three: b + 1 bits an element, Elias codes (QSGD, Theorem 3.2, without its lower
    terms), and b + 1 bits and an index for each of the sample's elements."""
    size = problem.samples.num_features
    filled = problem.samples.density * size
    found = {"SGD": Sender(SGD, 1, ENTRY_BITS * filled)}
    found |= {
        f"top {few}": Sender(TOP, few, ENTRY_BITS * few) for few in sorted({1, k})
    }
    found[f"random {k}"] = Sender(RAND, k, ENTRY_BITS * k)
    for b in (8, 4, 2):
        s = 2**b
        elias = 3 * s * (s + math.sqrt(size)) + 32
        bits = min((b + 1) * size, elias, (b + 33) * filled)
        found[f"QSGD {b} bit"] = Sender(QSGD, s, bits)
    return found


@dataclass(frozen=True, slots=True)
class Race:
    """Figure 3: who reaches a gap with how many bits."""

    convergence: Convergence
    senders: Mapping[str, Sender]
    firsts: Mapping[str, float]
    """g_0 of each, by a first epoch."""
    target: float
    """Gap."""

    def bits(self, name: str) -> float:
        """Until the mean gap over the seeds is at the target; infinity: it never is."""
        gaps = self.convergence.mean_gaps(name)
        steps = self.convergence.descents[name][0].steps
        for done, gap in zip(steps, gaps, strict=True):
            if gap <= self.target:
                return float(done * self.senders[name].bits)
        return math.inf


def race(
    ground: Ground, k: int, *, epochs: int, seeds: Sequence[int], progress: Progress
) -> Race:
    """Figure 3. g_0 is the best of FIRSTS after one epoch with another seed; the target
    is a tenth of the gap at zero."""
    found, firsts, descents = senders(ground.problem, k), {}, {}

    def run(sender: Sender, first: float, epochs: int, seed: int) -> Descent:
        variant = bottou(sender.method, sender.k, first, ground.problem.l2)
        total, looks = ground.steps(epochs), LOOKS * epochs
        return descend(ground, variant, total=total, looks=looks, seed=seed)

    text = f"Figure 3, {ground.dataset.name}"
    for name, sender in progress.over(list(found.items()), text):
        tried = {first: run(sender, first, 1, TUNING_SEED).gaps[-1] for first in FIRSTS}
        firsts[name] = min(tried, key=lambda first: tried[first])
        descents[name] = [run(sender, firsts[name], epochs, seed) for seed in seeds]
    convergence = Convergence(ground, k, epochs, descents)
    return Race(convergence, found, firsts, ground.start / 10)
