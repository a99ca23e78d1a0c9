"""Trainings in lockstep: what `intswitch train` does, in one process, no UDP.

The same trainer, the same workloads, the same seeds: the weights come out bit for bit
as they do over any fabric, whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from threading import Lock
from typing import Any

import numpy as np

try:
    import torch
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "this reproduction trains a network, which needs torch: "
        "pip install 'intswitch[train]'"
    ) from missing

from host.compressors.base import Compressor, Gradient, Layout, Network
from host.compressors.stream import NotFinite
from intswitch.experiment import Evaluated, Training
from intswitch.methods import Method
from intswitch.reproduce import lockstep
from intswitch.reproduce.estimates import Interval, interval
from intswitch.trainer import Run
from intswitch.workloads.base import Evaluation

TRAINING_LEVEL = 0.95
"""Of intervals over the few seeds of a training."""


class FloatMean(Compressor):
    """The yardstick, as `exact` is: the mean of the floats, past the switch."""

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        assert isinstance(network, lockstep.Worker)
        vectors = network.exchange(vector.copy())  # `mean` may be `vector`
        mean[:] = np.mean(vectors, axis=0, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What one training came to."""

    losses: list[float]
    """Of every step's training batch, mean over the workers."""
    evaluations: list[Evaluated]
    """Of the test set, now and then."""
    largest_integers: list[int]
    """Of every step, over the workers, before clipping."""
    bytes_down: float
    """Of a worker and step, on average, headers included."""
    clips: int
    diverged: int | None = None
    """The step, from 1, in which gradients were no longer finite, and all ended."""

    @property
    def score(self) -> float:
        """The final accuracy, 0 to 1; the final loss where there is none."""
        last = self.evaluations[-1]
        return last.loss if last.accuracy is None else last.accuracy

    @property
    def final_loss(self) -> float:
        """Of training, the mean over the last tenth of the steps."""
        if self.diverged is not None:
            return math.inf
        return fmean(self.losses[-max(1, len(self.losses) // 10) :])


def mean_score(curves: Sequence[Curve]) -> float:
    """Over the seeds, in the end or when it diverged."""
    return fmean(curve.score for curve in curves)


def mean_losses(curves: Sequence[Curve]) -> list[float]:
    """Of every step, over the seeds, as far as all of them went."""
    steps = min(len(curve.losses) for curve in curves)
    return np.mean([curve.losses[:steps] for curve in curves], axis=0).tolist()  # type: ignore[no-any-return]


def loss_ratio(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> Interval:
    """Of the final losses, seed by seed. NaN, which shows nothing, if one of them has
    diverged."""
    if any(curve.diverged for curve in (*curves, *yardstick)):
        return Interval(math.nan, math.nan)
    pairs = zip(curves, yardstick, strict=True)
    ratios = [one.final_loss / other.final_loss for one, other in pairs]
    return interval(ratios, TRAINING_LEVEL)


class Learner:
    """One worker's training, and its share of every evaluation."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.shares: list[tuple[int, Evaluation]] = []
        self.diverged: int | None = None

    def go(self) -> None:
        for number, evaluate in self.run.steps():
            try:
                self.run.step(number)
            except NotFinite:  # on all workers in the same step
                self.diverged = number + 1
            if evaluate or self.diverged:
                share = self.run.workload.evaluate(self.run.flat.model)
                self.shares.append((number + 1, share))
            if self.diverged:
                return


def train(
    method: str, workload: str, *, num_workers: int, seed: int, **choices: Any
) -> Curve:
    """Train with a method, as `intswitch compare -c` has it; `exact` is `FloatMean`.

    choices: of `Training`, such as steps, lr and evaluations. Raises
    ModuleNotFoundError without the workload's data.
    """
    chosen = Method.parse(method)
    training = Training(
        workload=workload,
        compressor=chosen.compressor,
        options=chosen.options,
        seed=seed,
        **choices,
    )
    building = Lock()  # weights come from torch's generator, of which there is one

    def work(network: lockstep.Worker) -> Learner:
        exact = chosen.compressor == "exact"
        with building:
            compressor = FloatMean() if exact else chosen.create(seed)
            learner = Learner(Run(training, compressor, network))
        learner.go()
        return learner

    torch.set_num_threads(1)
    tables = chosen.create(seed).tables(num_workers)
    return curve(lockstep.run(num_workers, work, **tables))


def curve(learners: Sequence[Learner]) -> Curve:
    """All workers taken together."""
    runs = [learner.run for learner in learners]
    return Curve(
        losses=np.mean([run.losses for run in runs], axis=0).tolist(),
        evaluations=[
            evaluated(shares)
            for shares in zip(*(learner.shares for learner in learners), strict=True)
        ],
        largest_integers=np.max(
            [run.largest_integers for run in runs], axis=0
        ).tolist(),
        bytes_down=float(np.mean([run.bytes_down for run in runs])),
        clips=sum(run.compressor.statistics.clips for run in runs),
        diverged=learners[0].diverged,
    )


def evaluated(shares: Sequence[tuple[int, Evaluation]]) -> Evaluated:
    """The whole test set, from every worker's share of it."""
    count = sum(share.count for _, share in shares)
    correct = [share.correct for _, share in shares if share.correct is not None]
    return Evaluated(
        step=shares[0][0],
        loss=sum(share.loss_sum for _, share in shares) / count,
        accuracy=sum(correct) / count if len(correct) == len(shares) else None,
    )
