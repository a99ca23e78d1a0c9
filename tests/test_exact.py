"""host/compressors/exact.py over gloo, in processes of their own."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from torch.multiprocessing import spawn

from host.compressors.exact import Exact

N, D = 2, 1000
NETWORK: Any = None


def gradients() -> Any:
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def work(rank: int, folder: str) -> None:
    """One of N processes; an assertion that fails here fails the test."""
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=N,
        timeout=timedelta(seconds=30),
    )
    exact, own = Exact(), gradients()[rank]
    kept = own.copy()
    mean = exact.average(own, NETWORK)
    np.testing.assert_array_equal(mean, gradients().sum(axis=0) / np.float32(N))
    np.testing.assert_array_equal(own, kept)
    tensor = exact.average(torch.from_numpy(own).view(10, 100), NETWORK)
    np.testing.assert_array_equal(tensor.numpy().reshape(-1), mean)
    assert exact.average(np.zeros(0, np.float32), NETWORK).shape == (0,)
    assert exact.statistics.bytes_up == exact.statistics.bytes_down == 2 * D * 4
    assert exact.statistics.steps == 3
    bad = own.copy()
    bad[7] = np.nan if rank == 1 else 0
    text = r"gradient\[7\]" if rank == 1 else "another worker"
    with pytest.raises(ValueError, match=text):
        exact.average(bad, NETWORK)
    exact.average(own, NETWORK, out=own)
    np.testing.assert_array_equal(own, mean)
    torch.distributed.destroy_process_group()


def test_the_mean_is_float32_and_the_same_everywhere(tmp_path: Path) -> None:
    spawn(work, args=(str(tmp_path),), nprocs=N)


def test_without_a_process_group_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="init_process_group"):
        Exact().average(np.zeros(3, np.float32), NETWORK)


def test_the_registry_does_not_import_torch() -> None:
    code = (
        "import sys; from host.compressors import compressor; compressor('exact'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
