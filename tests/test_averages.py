"""intswitch/averages.py: sums and means of tensors, and of rows for some ranks."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers

pytest.importorskip("torch")

import torch
from torch import Tensor

from host.compressors import compressor
from intswitch.averages import Averages

N = 3
MADE: dict[str, dict[str, Any]] = {
    "block_exponent": {"exponents": "first"},  # knows parts
    "intsgd": {"element_type": "int16", "rounding": "deterministic"},  # does not
}


def rows_of(rank: int, dtype: torch.dtype) -> Tensor:
    random = np.random.default_rng(rank)
    return torch.from_numpy(random.uniform(-0.5, 0.5, (3, 20))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("owners", [[0, 1, 2], [1, 1, 2]])
@pytest.mark.parametrize("name", MADE)
def test_every_rank_has_its_rows(
    name: str, owners: list[int], dtype: torch.dtype
) -> None:
    create = partial(compressor, name, **MADE[name])

    def work(network: LocalNetwork) -> None:
        rows = rows_of(network.rank, dtype)
        whole = Averages(network, create).average(rows, N)
        found = Averages(network, create).of_rows(rows, N, np.array(owners))
        assert (whole.dtype, found.dtype) == (torch.float32, torch.float32)
        own = [owner == network.rank for owner in owners]
        torch.testing.assert_close(found, whole[own])
        total = torch.stack([rows_of(rank, dtype).float() for rank in range(N)]).sum(0)
        torch.testing.assert_close(whole, total, atol=0.05, rtol=0)

    results_of(run_workers(N, work))


@pytest.mark.parametrize("name", MADE)
def test_nothing_is_nothing_also_in_rows(name: str) -> None:
    def work(network: LocalNetwork) -> tuple[int, ...]:
        averages = Averages(network, partial(compressor, name, **MADE[name]))
        empty = torch.zeros(N, 0)
        return tuple(averages.of_rows(empty, 1, np.arange(N)).shape)

    assert results_of(run_workers(N, work)) == [(1, 0)] * N


def test_what_is_remembered_goes_by_the_size() -> None:
    def work(network: LocalNetwork) -> tuple[list[int], list[int]]:
        averages = Averages(network, partial(compressor, "intsgd", first="exponent"))
        for shape in (4, 6), (24,), (5,):
            averages.average(torch.ones(shape), 1)
        kept = averages.compressors
        return list(kept), [each.step for each in kept.values()]

    assert results_of(run_workers(2, work)) == [([24, 5], [2, 1])] * 2
