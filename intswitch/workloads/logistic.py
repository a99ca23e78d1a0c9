"""l2-regularized logistic regression whose workers disagree, after IntSGD section 5.

Every worker's samples lie around a point of its own, and its labels follow a
separator of its own: at the common optimum the workers' gradients cancel, yet none
of them is small. Each worker takes its full local gradient, so the average falls
to zero, IntSGD's scale rises without bound, and with it the integers that a worker
sends. IntDIANA sends differences from a memory of its gradient, which stay small.

The data is synthetic. The reported loss is the objective gap f(x) - f(x*).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intswitch.workloads.base import Batch, Evaluation, Workload

Vector = NDArray[np.float64]

SAMPLES = 256
"""Of one worker."""
DIMENSION = 1024
L2 = 3e-4


def worker_data(rank: int, seed: int) -> tuple[Vector, Vector]:
    """Samples [SAMPLES, DIMENSION], rows of norm 1, and labels of -1 and 1."""
    chance = np.random.default_rng([seed, rank])
    center = chance.normal(size=DIMENSION)
    separator = chance.normal(size=DIMENSION)
    samples = center + 2.0 * chance.normal(size=(SAMPLES, DIMENSION))
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    noise = 0.1 * chance.normal(size=SAMPLES)
    return samples, np.where(samples @ separator + noise > 0, 1.0, -1.0)


def objective(weights: Vector, samples: Vector, labels: Vector) -> float:
    """Mean logistic loss and the regularizer, in float64."""
    losses = np.logaddexp(0.0, -labels * (samples @ weights))
    return float(losses.mean() + 0.5 * L2 * weights @ weights)


def optimum(samples: Vector, labels: Vector) -> Vector:
    """The minimizer of the objective, by Newton's method from zero."""
    weights = np.zeros(samples.shape[1])
    for _ in range(50):
        wrong = 1.0 / (1.0 + np.exp(labels * (samples @ weights)))
        gradient = L2 * weights - samples.T @ (labels * wrong) / len(labels)
        if np.linalg.norm(gradient) < 1e-14:
            break
        curvature = samples.T * (wrong * (1.0 - wrong)) @ samples / len(labels)
        curvature += L2 * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights


@lru_cache(maxsize=4)
def problem(num_workers: int, seed: int) -> tuple[float, float]:
    """Least value and smoothness of the objective of all workers together."""
    shards = [worker_data(rank, seed) for rank in range(num_workers)]
    samples = np.vstack([each[0] for each in shards])
    labels = np.concatenate([each[1] for each in shards])
    least = objective(optimum(samples, labels), samples, labels)
    smoothness = float(np.linalg.norm(samples, 2)) ** 2 / (4 * len(labels)) + L2
    return least, smoothness


class Logistic(Workload):
    steps = 400
    batch_size = SAMPLES
    anneal = False
    metric = "loss"
    loss_name = "objective gap"

    def __init__(self, *, rank: int, num_workers: int, seed: int) -> None:
        super().__init__(rank=rank, num_workers=num_workers, seed=seed)
        self.mine = worker_data(rank, seed)
        self.least, smoothness = problem(num_workers, seed)
        self.lr = 1.0 / smoothness
        self.inputs = torch.from_numpy(self.mine[0].astype(np.float32))
        self.targets = torch.from_numpy(self.mine[1].astype(np.float32))

    def model(self) -> nn.Module:
        model = nn.Linear(DIMENSION, 1, bias=False)
        nn.init.zeros_(model.weight)
        return model

    def steps_per_epoch(self, batch_size: int) -> int:
        return 1

    def batch(self, step: int, batch_size: int) -> Batch:
        """All local samples: without noise in it, the integers tell the story."""
        return self.inputs, self.targets

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        margins = model(batch[0]).squeeze(1) * batch[1]
        penalty = sum((weight**2).sum() for weight in model.parameters())
        return nn.functional.softplus(-margins).mean() + 0.5 * L2 * penalty

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Evaluation:
        """This worker's objective, less the least value of the common one."""
        weights = next(model.parameters()).numpy().astype(np.float64).ravel()
        return Evaluation(objective(weights, *self.mine) - self.least, None, 1)


WORKLOAD = Logistic
