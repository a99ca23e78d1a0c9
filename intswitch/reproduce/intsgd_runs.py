"""The experiments behind IntSGD's claims: numbers, no judgement. See `intsgd.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import layout_of
from host.compressors.intdiana import IntDIANA
from host.compressors.intsgd import IntSGD
from intswitch.reproduce import lockstep
from intswitch.reproduce.claims import Options, Progress
from intswitch.reproduce.datasets import (
    Dataset,
    Vector,
    dense,
    epsilon_twin,
    normalized,
    read_normalized,
    rows_of,
)
from intswitch.reproduce.estimates import Draws
from intswitch.reproduce.logistic import Problem
from intswitch.reproduce.training import Curve, train

ALPHAS = (0.25, 0.5, 1.0, 2.0, 8.0)
ALPHA = 2.0  # where one is enough
ROUNDING_WORKERS, ELEMENTS = 8, 1024
WORKERS = 16  # as in the paper's experiments
SHARES = 12  # workers of its convex experiments
RESOLVED = 1e-10  # an objective gap
TRAININGS = {
    "SGD": "exact",
    "IntSGD int8": "intsgd:element_type=int8",
    "IntSGD int32": "intsgd:element_type=int32",
    "IntSGD int8, to nearest": "intsgd:element_type=int8,rounding=deterministic",
    "heuristic int8": "heuristic:element_type=int8",
    "heuristic int32": "heuristic:element_type=int32",
}

Gradients = NDArray[np.float32]


def gaussian(seed: int, workers: int, elements: int) -> Gradients:
    """[workers, elements]"""
    chance = np.random.default_rng([seed, 10])
    return chance.normal(size=(workers, elements)).astype(np.float32)


def halves(seed: int, workers: int, elements: int, alpha: float) -> Gradients:
    """[workers, elements] such that alpha times each is an integer and a half: the
    worst case of rounding."""
    chance = np.random.default_rng([seed, 11])
    integers = chance.integers(-3, 3, size=(workers, elements))
    return ((integers + 0.5) / alpha).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Rounding:
    """Means of the same gradients at the same scale, drawn many times."""

    alpha: float
    draws: Draws
    bound: float
    """d / (4 n alpha^2)"""
    exact: float
    """What the variance must be: sum of f (1 - f) / (n alpha)^2 over all fractions."""


def rounding(
    gradients: Gradients, alpha: float, draws: int, **options: Any
) -> Rounding:
    """options: of IntSGD, with a seed. alpha: a power of two, so that it is exact."""
    workers, elements = gradients.shape
    sigma = math.sqrt(elements) / alpha

    def create() -> IntSGD:
        return IntSGD(element_type="int32", scale="constant", sigma=sigma, **options)

    found = Draws.of(lockstep.means(gradients, create, draws), gradients)
    scaled = gradients.astype(np.float64) * alpha
    fractions = scaled - np.floor(scaled)
    exact = float((fractions * (1 - fractions)).sum()) / (workers * alpha) ** 2
    return Rounding(alpha, found, elements / (4 * workers * alpha**2), exact)


class Step(NamedTuple):
    """What one worker has seen of one step."""

    gradient: Gradients
    """[d] its own."""
    mean: Gradients
    """[d] the estimate."""
    r: float | None
    """Of the scale rule, before the step; None: there was no estimate yet."""
    alpha: float
    """The scale that followed; 0: there was no estimate yet."""
    largest_integer: int
    """Its own absolute one, before clipping."""
    largest_sum: int


History = list[Step]


def observe(
    compressor: IntSGD, gradient: Vector, network: lockstep.Worker, history: History
) -> NDArray[np.float64]:
    """Average one gradient, and write down what can be seen. The mean, as float64."""
    own, statistics = gradient.astype(np.float32), compressor.statistics
    r = compressor.scale.averages.get("gradient")
    blocks = compressor.scale.blocks_of(layout_of(None, len(own)))
    (alpha,) = compressor.scale.scales(blocks, network.num_workers).tolist()
    statistics.largest_integer = statistics.largest_sum = 0
    mean = compressor.average(own, network)
    history.append(
        Step(own, mean, r, alpha, statistics.largest_integer, statistics.largest_sum)
    )
    return mean.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Adaptive:
    """SGD on homogeneous data with the adaptive scale: a value for every step that had
    a scale of its own."""

    workers: int
    noise: list[float]
    """||mean - exact mean||^2 / r"""
    sums: list[float]
    """Root mean square of the integer sums."""
    largest: list[int]
    """Absolute integer of any worker, before clipping."""
    clipped: float
    """Share of all elements."""
    agree: bool
    """Whether all workers had the same r, to the bit, in every step."""


def adaptive(seed: int, workers: int, steps: int, progress: Progress) -> Adaptive:
    """SGD with eight samples a worker, logistic regression on an epsilon twin, int8."""
    dataset = epsilon_twin(seed, samples=4000, features=1000)
    l2 = 1.0 / dataset.samples.num_samples

    def work(network: lockstep.Worker) -> tuple[History, int]:
        history: History = []
        intsgd = IntSGD(element_type="int8", seed=seed)
        chance = np.random.default_rng([seed, network.rank])
        x = np.zeros(dataset.samples.num_features)
        for step in network.watch(progress).over(range(steps), "adaptive scale"):
            first = int(chance.integers(0, dataset.samples.num_samples - 8))
            batch = Problem(part(dataset, first, first + 8), l2)
            mean = observe(intsgd, batch.gradient(x), network, history)
            x -= 2.0 / (1.0 + 0.01 * step) * mean
        return history, intsgd.statistics.clips

    histories, clips = zip(*lockstep.run(workers, work), strict=True)
    return summary(histories, sum(clips))


def summary(histories: Sequence[History], clips: int) -> Adaptive:
    """All workers taken together."""
    workers, noise, sums, largest, agree = len(histories), [], [], [], True
    for steps in zip(*histories, strict=True):
        r, mean = steps[0].r, steps[0].mean.astype(np.float64)
        agree = agree and all(step.r == r for step in steps)
        if r is None:
            continue
        exact = np.mean([step.gradient for step in steps], axis=0, dtype=np.float64)
        noise.append(float((mean - exact) @ (mean - exact)) / r)
        rms = math.sqrt(float(mean @ mean) / len(mean))
        sums.append(workers * steps[0].alpha * rms)
        largest.append(max(step.largest_integer for step in steps))
    elements = workers * len(histories[0]) * len(histories[0][0].mean)
    return Adaptive(workers, noise, sums, largest, clips / elements, agree)


@dataclass(frozen=True, slots=True)
class Descent:
    """Gradient descent on heterogeneous data: a value for every step."""

    gaps: list[float]
    """f(x) - f(x*), before the step."""
    largest: list[int]
    """Absolute integer of any worker, before clipping."""
    sums: list[int]
    """Largest absolute sum."""


def heterogeneous(
    seed: int, workers: int, samples: int = 200, features: int = 100
) -> Dataset:
    """Every worker's `samples` lie around a point of its own and have labels by a
    separator of its own; rows of norm 1, in order of the workers. Feature j has the
    scale 1 / sqrt(j), so that descent takes a while."""
    chance = np.random.default_rng([seed, 12])
    scale = 1.0 / np.sqrt(np.arange(1, features + 1))
    matrices, labels = [], []
    for _ in range(workers):
        center, separator = chance.normal(size=(2, features))
        noise = chance.normal(size=(samples, features))
        matrix = (0.5 * center + noise) * scale
        margins = matrix @ separator
        margins += 0.1 * margins.std() * chance.normal(size=samples)
        matrices.append(matrix)
        labels.append(np.where(margins > 0, 1.0, -1.0))
    rows = normalized(dense(np.vstack(matrices)))
    return Dataset("synthetic", rows, np.concatenate(labels))


def part(dataset: Dataset, first: int, last: int) -> Dataset:
    """Samples first to last - 1."""
    rows = rows_of(dataset.samples, first, last)
    return Dataset(dataset.name, rows, dataset.labels[first:last])


def descend(
    name: str, dataset: Dataset, workers: int, steps: int, progress: Progress
) -> Descent:
    """Full local gradients, step size 1 / L, a contiguous split in shares of one size;
    until the gap is below what float32 gradients resolve.

    name: a compressor and its options, as in METHODS. l2 is 3 over the number of
    samples, near to what the authors have for their sets.
    """
    each = dataset.samples.num_samples // workers
    if each == 0:
        raise ValueError(
            f"{dataset.name}: {dataset.samples.num_samples} samples: must be at least "
            f"{workers}, one for every worker"
        )
    used = part(dataset, 0, each * workers)
    l2 = 3.0 / used.samples.num_samples
    whole = Problem(used, l2)
    best, rate = whole.optimum().loss, 1.0 / whole.smoothness()
    gaps: list[float] = []

    def work(network: lockstep.Worker) -> History:
        history: History = []
        compressor = METHODS[name]()
        first = network.rank * each
        mine = Problem(part(used, first, first + each), l2)
        x = np.zeros(used.samples.num_features)
        for _ in network.watch(progress).over(range(steps), name):
            if network.rank == 0:
                gaps.append(whole.loss(x) - best)
            x -= rate * observe(compressor, mine.gradient(x), network, history)
        return history

    histories = lockstep.run(workers, work)
    largest = [
        max(step.largest_integer for step in row)
        for row in zip(*histories, strict=True)
    ]
    sums = [step.largest_sum for step in histories[0]]
    end = next((step for step, gap in enumerate(gaps) if gap < RESOLVED), steps)
    return Descent(gaps[:end], largest[:end], sums[:end])


METHODS: dict[str, Callable[[], IntSGD]] = {
    "IntSGD int32": lambda: IntSGD(element_type="int32", scale="plain"),
    "IntSGD int8": lambda: IntSGD(element_type="int8", scale="plain"),
    "IntDIANA int32": lambda: IntDIANA(element_type="int32"),
    "IntDIANA int8": lambda: IntDIANA(element_type="int8"),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    draws: int
    steps: int
    """Of SGD with the adaptive scale."""
    descent: int
    """Steps of gradient descent on heterogeneous data."""
    seeds: int
    training: int
    """Steps of a training."""


FULL = Size(draws=600, steps=300, descent=400, seeds=5, training=200)
QUICK = Size(draws=100, steps=60, descent=150, seeds=5, training=100)


@dataclass(frozen=True, slots=True)
class Found:
    """The outcomes of all experiments."""

    roundings: Sequence[Rounding]
    """By alpha, Gaussian gradients."""
    worst: Rounding
    """Every fraction is a half."""
    nearest: Rounding
    """Deterministic rounding."""
    adaptive: Adaptive
    descents: Mapping[str, Descent]
    curves: Mapping[str, Sequence[Curve]]
    """A training for every seed."""
    notes: Sequence[str]


def measure(options: Options, size: Size, progress: Progress) -> Found:
    seed = options.seed
    dataset = (
        heterogeneous(seed, SHARES)
        if options.data is None
        else read_normalized(options.data)
    )
    gradients = gaussian(seed, ROUNDING_WORKERS, ELEMENTS)
    worst = halves(seed, ROUNDING_WORKERS, ELEMENTS, ALPHA)
    return Found(
        roundings=[
            rounding(gradients, alpha, size.draws, seed=seed)
            for alpha in progress.over(ALPHAS, "random rounding")
        ],
        worst=rounding(worst, ALPHA, size.draws, seed=seed),
        nearest=rounding(gradients[:1], ALPHA, 20, rounding="deterministic"),
        adaptive=adaptive(seed, WORKERS, size.steps, progress),
        descents={
            name: descend(name, dataset, SHARES, size.descent, progress)
            for name in METHODS
        },
        curves={
            name: [
                train(
                    method,
                    "digits",
                    num_workers=WORKERS,
                    seed=seed + number,
                    steps=size.training,
                    batch_size=16,
                )
                for number in progress.over(range(size.seeds), f"training, {name}")
            ]
            for name, method in TRAININGS.items()
        },
        notes=[
            f"Rounding: {ROUNDING_WORKERS} workers, {ELEMENTS:,} Gaussian elements, "
            f"{size.draws} draws. Adaptive scale: {WORKERS} workers, SGD on an "
            f"epsilon twin of 1,000 features, {size.steps} steps.",
            f"Heterogeneous: {dataset.told()}; {SHARES} workers, full gradients, "
            "a contiguous split, until the gap is below "
            f"{RESOLVED:g}. The first step, which has no scale of its own, is left "
            "out.",
            f"Training: an MLP on scikit-learn's digits, {WORKERS} workers, "
            f"{size.training} steps, {size.seeds} seeds; losses are those of the last "
            "tenth of the steps, intervals are for 95 %, others for 99.9 %. The paper "
            "trains ResNet-18 and an LSTM.",
        ],
    )
