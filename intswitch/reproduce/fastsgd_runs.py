"""The trainings behind FastSGD's claims, and all experiments together: numbers, no
judgement. See `fastsgd.py`, and `fastsgd_coding.py` for those without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from host.compressors.deltas import encode_keys
from host.compressors.fastsgd import FastSGD
from host.compressors.feedback import Feedback
from host.compressors.pairs import encode_pairs
from intswitch.reproduce import lockstep
from intswitch.reproduce.claims import Options, Progress
from intswitch.reproduce.datasets import (
    Dataset,
    Vector,
    rcv1_twin,
    read_normalized,
    rows_of,
)
from intswitch.reproduce.fastsgd_coding import (
    ELEMENTS,
    SHARES,
    THRESHOLDS,
    WORKERS,
    Gradients,
    KeyBits,
    Nearest,
    Paths,
    Rounding,
    Timing,
    key_bits,
    nearest,
    paths,
    rounding,
    same_as_nuqsgd,
    timing,
)
from intswitch.reproduce.logistic import Problem

FLOAT_BYTES = 4
BATCH = 128
RATE = 0.1
"""Of the first step, in units of 1 / L."""
PATIENCE = 50
"""Steps until the step size has halved."""


class Trained(NamedTuple):
    """What came of one threshold; of worker 0, means over the steps."""

    threshold: int
    feedback: bool
    loss: float
    """f(x) at the end, of all samples."""
    pairs: float
    key_bytes: float
    message_bytes: float
    """Keys and values."""


@dataclass(frozen=True, slots=True)
class Regression:
    """l2-regularized logistic regression, whose samples the workers share."""

    dataset: Dataset
    batch: int
    """Samples of a worker and step."""
    steps: int
    seed: int

    @property
    def whole(self) -> Problem:
        return Problem(self.dataset)

    def batch_of(self, rank: int, step: int) -> Problem:
        """Consecutive samples of the worker's share, the same for every method."""
        each = self.dataset.samples.num_samples // WORKERS
        chance = np.random.default_rng([self.seed, rank, step])
        first = rank * each + int(chance.integers(0, each - self.batch + 1))
        rows = rows_of(self.dataset.samples, first, first + self.batch)
        labels = self.dataset.labels[first : first + self.batch]
        return Problem(Dataset("batch", rows, labels), self.whole.l2)


def descend(
    problem: Regression, rate: float, average: Callable[..., Vector], **tables: Any
) -> float:
    """The loss after SGD with the means that `average(gradient, network)` makes."""

    def work(network: lockstep.Worker) -> Vector:
        x = np.zeros(problem.dataset.samples.num_features)
        for step in range(problem.steps):
            gradient = problem.batch_of(network.rank, step).gradient(x)
            mean = average(gradient.astype(np.float32), network)
            x -= rate / (1 + step / PATIENCE) * mean
        return x

    return problem.whole.loss(lockstep.run(WORKERS, work, **tables)[0])


def uncompressed(problem: Regression, rate: float) -> float:
    """The loss that float32 means come to."""

    def average(gradient: Gradients, network: lockstep.Worker) -> Vector:
        mean: Vector = np.mean(network.exchange(gradient), axis=0, dtype=np.float64)
        return mean

    return descend(problem, rate, average)


def trained(
    problem: Regression, rate: float, threshold: int, feedback: bool
) -> Trained:
    """With FastSGD in the network; its messages are made besides, to be counted."""
    inner = [FastSGD(threshold=threshold, scale="max") for _ in range(WORKERS)]
    made = [Feedback(each) if feedback else each for each in inner]
    sizes: list[tuple[int, int, int]] = []

    def average(gradient: Gradients, network: lockstep.Worker) -> Vector:
        mean = made[network.rank].average(gradient, network)
        sent = inner[0].sent_codes
        if network.rank == 0 and sent is not None:
            keys = np.flatnonzero(sent[0]).astype(np.uint32)
            message = encode_pairs(sent[0], 0, inner[0].log)
            sizes.append((len(keys), len(encode_keys(keys)), len(message)))
        return mean.astype(np.float64)

    loss = descend(problem, rate, average, **inner[0].tables(WORKERS))
    return Trained(threshold, feedback, loss, *np.mean(sizes, axis=0).tolist())


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    draws: int
    key_elements: int
    timed: tuple[int, ...]
    features: int
    samples: int
    steps: int
    thresholds: tuple[int, ...]
    """Descending."""


FULL = Size(
    draws=600, key_elements=1 << 23, timed=tuple(1 << n for n in range(18, 25)),
    features=1_000_000, samples=8000, steps=100,
    thresholds=(14, 12, 10, 8, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
QUICK = Size(
    draws=100, key_elements=1 << 20, timed=tuple(1 << n for n in range(18, 22)),
    features=1_000_000, samples=4000, steps=50, thresholds=(14, 6, 4, 2, 1, 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """The outcomes of all experiments."""

    roundings: Sequence[Rounding]
    nearest: Sequence[Nearest]
    keys: Sequence[KeyBits]
    timings: Sequence[Timing]
    paths: Paths
    nuqsgd: tuple[int, int]
    features: int
    start: float
    """The loss at zero."""
    exact: float
    """The loss that uncompressed means come to."""
    trainings: Sequence[Trained]
    """Thresholds descending, without feedback and then with it."""
    notes: Sequence[str]

    def ratio(self, trained: Trained) -> float:
        """Of the gradient as float32 to a message."""
        return FLOAT_BYTES * self.features / trained.message_bytes


def problem_of(options: Options, size: Size) -> Regression:
    dataset = (
        rcv1_twin(options.seed, size.samples, size.features)
        if options.data is None
        else read_normalized(options.data)
    )
    if dataset.samples.num_samples < WORKERS * BATCH:
        raise ValueError(
            f"{dataset.name}: {dataset.samples.num_samples} samples: must be at least "
            f"{WORKERS * BATCH}, a batch of {BATCH} for each of {WORKERS} workers"
        )
    return Regression(dataset, BATCH, size.steps, options.seed)


def measure(options: Options, size: Size, progress: Progress) -> Found:
    seed, problem = options.seed, problem_of(options, size)
    rate = RATE / problem.whole.smoothness()
    features = problem.dataset.samples.num_features
    sweep = [(tau, feedback) for feedback in (False, True) for tau in size.thresholds]
    return Found(
        roundings=[
            rounding(base, seed, size.draws)
            for base in progress.over(list(THRESHOLDS), "random rounding")
        ],
        nearest=[nearest(base, seed) for base in THRESHOLDS],
        keys=[
            key_bits(share, size.key_elements, seed)
            for share in progress.over(SHARES, "bits a key")
        ],
        timings=[timing(n, seed) for n in progress.over(size.timed, "time")],
        paths=paths(seed),
        nuqsgd=same_as_nuqsgd(seed),
        features=features,
        start=problem.whole.loss(np.zeros(features)),
        exact=uncompressed(problem, rate),
        trainings=[
            trained(problem, rate, tau, feedback)
            for tau, feedback in progress.over(sweep, "ratio against threshold")
        ],
        notes=notes(problem, size),
    )


def notes(problem: Regression, size: Size) -> list[str]:
    return [
        "Of the paper only the abstract could be read: the compressor is a "
        "reconstruction, and so is the experiment. Its data sets, baselines and "
        "numbers are not known here.",
        f"Ratio and loss: logistic regression on {problem.dataset.told()}; {WORKERS} "
        f"workers, {problem.steps} steps of SGD with {problem.batch} samples a worker, "
        f"step size {RATE} / L, falling; base 2, to the nearest logarithm, scale=max. "
        "The ratio is that of a float32 gradient to a worker's mean message. The "
        "decrease is that of the loss from zero weights to where float32 means come.",
        "To count a ratio as long as a tenth of the decrease is left is lenient: at "
        "the same loss it is smaller. The step size, too, was chosen after others "
        "had been tried: at 1 / L and few samples SGD with feedback diverges for small "
        "thresholds.",
        "As many pairs are left of more features: the ratio grows with their number, "
        "and here it is counted against zeros, too.",
        f"Rounding: {WORKERS} workers, {ELEMENTS:,} elements, {size.draws} draws, "
        "intervals for 99.9 %. Time: of the thread, best of 7.",
        "Not measured: convergence up to 8 times as fast as the state of the art. "
        "That takes a cluster, and to know which one.",
    ]
