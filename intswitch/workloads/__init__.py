"""What is trained: a model, its data, and how good it has become. One file each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intswitch.workloads.base import Workload

WORKLOADS = {
    "mnist": "small CNN, 5,000 real MNIST images (4,000 train, 1,000 test)",
    "digits": "MLP on scikit-learn's 8x8 digits; the quick one",
    "text": "character LSTM on the Python standard library's source",
    "logistic": "l2 logistic regression, every worker with data of its own kind",
}
"""Name and one line about it. Kept here so that the command line needs no torch."""


def load(name: str, *, rank: int, num_workers: int, seed: int) -> Workload:
    """The workload `name` as worker `rank` of `num_workers` sees it.

    Same seed: same data order and initial weights, whatever the compressor.
    Raises ValueError for an unknown name, ModuleNotFoundError without its data set.
    """
    if name not in WORKLOADS:
        raise ValueError(f"workload: {name!r} is none of {', '.join(WORKLOADS)}")
    module = import_module(f"intswitch.workloads.{name}")
    workload: Workload = module.WORKLOAD(rank=rank, num_workers=num_workers, seed=seed)
    return workload
