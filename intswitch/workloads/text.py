"""A character LSTM on the Python standard library's own source code.

The modules are listed by name, so that one Python version always gives one corpus.
The test set is made of other modules than the training set.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intswitch.workloads.base import Batch, Evaluation, Workload

TRAIN_MODULES = """
    argparse ast bdb calendar cmd codecs configparser contextlib copy csv dataclasses
    datetime difflib dis doctest enum fractions ftplib functools getopt glob gzip
    heapq inspect ipaddress locale mailbox mimetypes netrc optparse os pdb pickle
    platform plistlib pprint profile pstats pydoc random selectors shelve shlex
    shutil smtplib socket socketserver ssl statistics string subprocess tempfile
    textwrap threading timeit tokenize trace traceback turtle typing uuid warnings
    weakref zipapp"""
TEST_MODULES = "tarfile zipimport imaplib poplib sched tabnanny"
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
"""Newline and printable ASCII; anything else reads as a newline."""
LENGTH = 48
"""Characters a training example predicts."""
NUM_TEST = 64


def read_modules(names: str) -> NDArray[np.int64]:
    """The source of the modules that this Python has, as numbers of characters."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [folder / f"{name}.py" for name in names.split()]
    text = b"\n".join(path.read_bytes() for path in paths if path.exists())
    if not text:
        raise FileNotFoundError(f"workload text: no source of Python found in {folder}")
    table = np.zeros(256, np.int64)
    for number, character in enumerate(ALPHABET):
        table[ord(character)] = number
    return table[np.frombuffer(text, np.uint8)]


class CharacterLstm(nn.Module):
    """Predicts every next character: int64[batch, time] -> scores."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), 32)
        self.lstm = nn.LSTM(32, width, batch_first=True)
        self.output = nn.Linear(width, len(ALPHABET))

    def forward(self, text: Tensor) -> Tensor:
        scores: Tensor = self.output(self.lstm(self.embedding(text))[0])
        return scores


class Text(Workload):
    steps = 400
    batch_size = 16
    lr = 2.0
    momentum = 0.9
    metric = "loss"

    def __init__(self, *, rank: int, num_workers: int, seed: int) -> None:
        super().__init__(rank=rank, num_workers=num_workers, seed=seed)
        self.corpus = read_modules(TRAIN_MODULES)
        test = read_modules(TEST_MODULES)
        starts = np.linspace(0, len(test) - LENGTH - 2, NUM_TEST).astype(np.int64)
        self.test = examples(test, starts[rank::num_workers])

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return CharacterLstm()

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(1, len(self.corpus) // (LENGTH * batch_size * self.num_workers))

    def batch(self, step: int, batch_size: int) -> Batch:
        chance = np.random.default_rng([self.seed, step, self.rank])
        starts = chance.integers(len(self.corpus) - LENGTH - 1, size=batch_size)
        return examples(self.corpus, starts)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Evaluation:
        scores = model(self.test[0]).flatten(0, 1)
        targets = self.test[1]
        loss = nn.functional.cross_entropy(scores, targets, reduction="sum")
        correct = (scores.argmax(1) == targets).sum()
        return Evaluation(float(loss), int(correct), len(targets))


def examples(corpus: NDArray[np.int64], starts: NDArray[np.int64]) -> Batch:
    """Windows [n, LENGTH] of the text, and the characters that follow, flat."""
    windows = torch.from_numpy(corpus[starts[:, None] + np.arange(LENGTH + 1)])
    return windows[:, :-1], windows[:, 1:].flatten()


WORKLOAD = Text
