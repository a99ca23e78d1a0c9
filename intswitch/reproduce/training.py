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

    label: str
    """As tables call the method."""
    losses: list[float]
    """Of every step's training batch, mean over the workers."""
    evaluations: list[Evaluated]
    """Of the test set, now and then."""
    largest_integers: list[int]
    """Of every step, over the workers, before clipping."""
    bytes_up: float
    """Of a worker and step, on average, headers included."""
    bytes_down: float
    clips: int
    elements: int
    """That could have been clipped: workers x steps x parameters."""
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


def relative_excess(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> Interval:
    """By what share the final loss is above the yardstick's, seed by seed. None of
    them may have diverged."""
    pairs = zip(curves, yardstick, strict=True)
    shares = [one.final_loss / other.final_loss - 1 for one, other in pairs]
    return interval(shares, TRAINING_LEVEL)


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
    return curve(training.label, lockstep.run(num_workers, work, **tables))


def curve(label: str, learners: Sequence[Learner]) -> Curve:
    """All workers taken together."""
    runs = [learner.run for learner in learners]
    started = runs[0].started
    return Curve(
        label=label,
        losses=np.mean([run.losses for run in runs], axis=0).tolist(),
        evaluations=[
            evaluated(shares)
            for shares in zip(*(learner.shares for learner in learners), strict=True)
        ],
        largest_integers=np.max(
            [run.largest_integers for run in runs], axis=0
        ).tolist(),
        bytes_up=float(np.mean([run.bytes_up for run in runs])),
        bytes_down=float(np.mean([run.bytes_down for run in runs])),
        clips=sum(run.compressor.statistics.clips for run in runs),
        elements=len(runs) * started.steps * started.parameters,
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
