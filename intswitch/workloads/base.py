"""The interface of a workload, and the parts that most of them share."""

from __future__ import annotations

import gzip
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One worker's share of the test set, as sums, so that the shares add up."""

    loss_sum: float
    correct: int | None
    """None: the workload has no accuracy."""
    count: int


class Workload(ABC):
    """What one worker needs to train. Default options are class attributes."""

    steps: int
    batch_size: int
    """Of one worker."""
    lr: float
    momentum: float = 0.0
    anneal: bool = True
    """Let the learning rate fall linearly to zero over the run."""
    metric: str = "accuracy"
    """What the comparison's table shows: accuracy or loss."""
    loss_name: str = "test loss"
    """What `evaluate` gives as the loss."""

    def __init__(self, *, rank: int, num_workers: int, seed: int) -> None:
        self.rank = rank
        self.num_workers = num_workers
        self.seed = seed

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model; its weights depend on the seed alone."""

    @abstractmethod
    def steps_per_epoch(self, batch_size: int) -> int:
        """How many steps show all workers together the training set once."""

    @abstractmethod
    def batch(self, step: int, batch_size: int) -> Batch:
        """This worker's inputs and targets; they depend on seed, rank and step."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar to minimize: a mean over the batch."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> Evaluation:
        """How good the model is on this worker's share of the test set."""


class Classification(Workload):
    """Images with labels, reshuffled every epoch and dealt out to the workers."""

    train: Batch
    test: Batch

    def __init__(self, *, rank: int, num_workers: int, seed: int) -> None:
        super().__init__(rank=rank, num_workers=num_workers, seed=seed)
        images, labels = self.load()
        chosen = balanced_split(labels, self.num_test(), seed=0)
        self.train = tensors(images[~chosen], labels[~chosen])
        mine = np.flatnonzero(chosen)[rank::num_workers]
        self.test = tensors(images[mine], labels[mine])

    @abstractmethod
    def load(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All images and labels."""

    @abstractmethod
    def num_test(self) -> int:
        """How many of them are kept for the test."""

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(1, len(self.train[1]) // (batch_size * self.num_workers))

    def batch(self, step: int, batch_size: int) -> Batch:
        epoch, at = divmod(step, self.steps_per_epoch(batch_size))
        order = np.random.default_rng([self.seed, epoch]).permutation(
            len(self.train[1])
        )
        first = (at * self.num_workers + self.rank) * batch_size
        chosen = torch.from_numpy(order[first : first + batch_size])
        return self.train[0][chosen], self.train[1][chosen]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Evaluation:
        images, labels = self.test
        scores = model(images)
        loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
        correct = (scores.argmax(1) == labels).sum()
        return Evaluation(float(loss), int(correct), len(labels))


def read_table(package: str, path: str, workload: str) -> NDArray[np.float32]:
    """Lines of a gzipped CSV file that `package` ships; the last column is a label.

    The file is read without importing the package, which would take seconds.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"workload {workload}: its data comes with {package}, which is not "
            "installed: pip install 'intswitch[train]'"
        )
    text = gzip.decompress((Path(spec.origin).parent / path).read_bytes()).decode()
    width = text[: text.index("\n")].count(",") + 1
    values = np.fromstring(text.replace("\n", ","), np.float32, sep=",")
    return values.reshape(-1, width)


def balanced_split(
    labels: NDArray[np.int64], num_test: int, *, seed: int
) -> NDArray[np.bool_]:
    """Mark `num_test` samples, from every class as many (or one more).

    The seed is fixed by the callers: runs with different seeds share one test set.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = np.unique(labels)
    chosen = np.zeros(len(labels), bool)
    for number, label in enumerate(classes):
        share = num_test // len(classes) + (number < num_test % len(classes))
        chosen[order[labels[order] == label][:share]] = True
    return chosen


def tensors(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Batch:
    return torch.from_numpy(images), torch.from_numpy(labels)
