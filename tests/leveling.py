"""NUQSGD, QSGD and QSGDinf for their tests: all their forms, run by threads, and what
their definitions say of their errors."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray
from test_levels import moments

from host.compressors import compressor
from host.compressors.leveled import Leveled

N, D = 3, 200
SLOT = 64  # bytes: 64 int8 sums, 32 int16 sums
STEPS = 150
Gradients = NDArray[np.float32]
Floats = NDArray[np.float64]

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "nuqsgd": ("nuqsgd", {}),
    "nuqsgd of 3 bits": ("nuqsgd", {"bits": 3, "norm": "linf"}),
    "nuqsgd, integers": ("nuqsgd", {"wire": "integers"}),
    "nuqsgd of 5 bits, integers": ("nuqsgd", {"bits": 5, "wire": "integers"}),
    "nuqsgd of 5 bits": ("nuqsgd", {"bits": 5, "common": "max", "block_size": 40}),
    "nuqsgd, common max": ("nuqsgd", {"common": "max", "block_size": 70}),
    "nuqsgd, gather": ("nuqsgd", {"path": "gather", "block_size": 70}),
    "nuqsgd of the authors": ("nuqsgd", {"levels": "authors"}),
    "nuqsgd of the authors, gather": (
        "nuqsgd",
        {"levels": "authors", "path": "gather", "block_size": 70},
    ),
    "qsgd": ("qsgd", {}),
    "qsgd of 2 bits, common max": ("qsgd", {"bits": 2, "common": "max"}),
    "qsgd, gather": ("qsgd", {"path": "gather"}),
    "qsgd of the authors": ("qsgd", {"levels": "authors", "bits": 8}),
    "qsgdinf": ("qsgdinf", {}),
    "qsgdinf of 8 bits": ("qsgdinf", {"bits": 8, "common": "max"}),
    "qsgdinf, gather": ("qsgdinf", {"path": "gather", "block_size": 33}),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
Method = tuple[str, dict[str, Any]]
PATHS = {
    name: METHODS[name] for name in ("nuqsgd", "nuqsgd, common max", "nuqsgd, gather")
}
every_path = pytest.mark.parametrize("method", PATHS.values(), ids=PATHS)


def make(method: Method, **options: Any) -> Leveled:
    made = compressor(method[0], **method[1] | options)
    assert isinstance(made, Leveled)
    return made


def train(
    gradients: Gradients, method: Method, **options: Any
) -> list[tuple[Gradients, Leveled]]:
    """gradients: [steps, n, d]. [n] of the means of all steps, and the compressor."""

    def work(network: LocalNetwork) -> tuple[Gradients, Leveled]:
        made = make(method, **options)
        means = [made.average(g[network.rank], network) for g in gradients]
        return np.array(means), made

    return results_of(run(gradients.shape[1], work, make(method, **options)))


def run(
    num_workers: int, work: Callable[[LocalNetwork], Any], made: Leveled
) -> list[Any]:
    """`run_workers`, of a job with the tables that this compressor needs."""
    tables = made.tables(num_workers)
    return run_workers(num_workers, work, slot_bytes=SLOT, **tables)


def gaussian(steps: int = 1, n: int = N, d: int = D, seed: int = 0) -> Gradients:
    """Workers of unlike norms, elements of unlike magnitudes."""
    rng = np.random.default_rng(seed)
    workers = np.array([1.0, 0.3, 5.0] * n)[:n, None]
    elements = rng.normal(size=(steps, n, d)) * np.exp2(-rng.uniform(0, 6, d))
    return (workers * elements).astype(np.float32)


def blocks_of(made: Leveled, d: int) -> list[slice]:
    width = made.block_size
    if (made.path, made.common) == ("network", "exponent"):
        width = made.form.elements_per_chunk(SLOT)
    return [slice(start, start + width) for start in range(0, d, width)]


def expected(made: Leveled, gradient: Gradients) -> tuple[Floats, Floats]:
    """Variance of each element of the mean, and how far apart its values can be: from
    the papers' definitions. gradient: [n, d]."""
    n, d = gradient.shape
    variance, jump = np.zeros(d), np.zeros(d)
    for block in blocks_of(made, d):
        part = gradient[:, block].astype(float)
        order = 2 if made.norm == "l2" else math.inf
        norms = np.linalg.norm(part, ord=order, axis=1)
        if made.path == "network":
            norms[:] = norms.max()
            if made.common == "exponent":
                norms[:] = 2.0 ** (np.floor(np.log2(norms[0])) + 1)
        for vector, norm in zip(part, norms, strict=True):
            unit = norm / float(made.grid.top) or 1.0  # 1.0: the vector is zero
            own_variance, own_jump = moments(vector / unit, made.grid)
            variance[block] += own_variance * (unit / n) ** 2
            jump[block] += own_jump * unit / n
    return variance, jump
