"""scikit-learn's 1,797 digits of 8x8 pixels and an MLP: a run of seconds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intswitch.workloads.base import Classification, read_table


class Digits(Classification):
    steps = 200
    batch_size = 32
    lr = 0.1
    momentum = 0.9

    def load(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        table = read_table("sklearn", "datasets/data/digits.csv.gz", "digits")
        images = (table[:, :-1] / 8.0 - 1.0).astype(np.float32)
        return images, table[:, -1].astype(np.int64)

    def num_test(self) -> int:
        return 360

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return nn.Sequential(
            nn.Linear(64, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


WORKLOAD = Digits
