"""The compress kernels, one thread, in cache and out of it.

IntSGD's against the same in torch operations: scale, round at random, clip, to int8 in
network order. Those of levels (NUQSGD, QSGD), the norms of the blocks included, against
IntSGD's."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from host.compressors.integers import INTEGER_TYPES, IntegerFormat
from host.compressors.level_sum import LevelSum
from host.compressors.leveled import BLOCK_SIZE
from host.compressors.levels import grid_of, scales_of
from host.compressors.norms import block_ends, block_norms
from host.compressors.quantize import random_key
from host.compressors.stream import ScaledSum
from host.packetizer import make_ready, new_contributions
from switch.protocol import HEADER_BYTES, ElementType

ROWS = 240  # packets filled at once, as the agent does
SCALE = np.float32(3.0)
BOUND = 31  # int8, four workers
SIZES = {"4 MiB (cached)": 1 << 20, "100 MiB": 25 << 20}
NETWORK: Any = SimpleNamespace(rank=0, num_workers=4, slot_bytes=1024)
LEVELS = {
    "nuqsgd": ("exponential", "l2", "int16"),
    "nuqsgd linf": ("exponential", "linf", "int16"),
    "qsgd": ("uniform", "l2", "int8"),
    "qsgdinf": ("uniform", "linf", "int8"),
}
"""Grid, norm, and type of the sums, at 4 bits. Sent are code4."""


def rate(run: Callable[[], Any], nbytes: int) -> float:
    """GB/s of float32 read; the best of several, for at least half a second."""
    run()  # compiled, and in cache if it fits
    best, until = np.inf, time.perf_counter() + 0.5
    while time.perf_counter() < until:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return nbytes / best / 1e9


def compress(vector: np.ndarray, random: bool) -> Callable[[], None]:
    """Fill every packet of a vector once, with IntSGD's integers."""
    stream = ScaledSum(
        vector,
        np.empty_like(vector),
        NETWORK,
        IntegerFormat(ElementType.INT8, ElementType.INT8),
        block_ends=np.array([len(vector)]),
        scales=np.array([SCALE]),
        key=random_key(0, 0, 0) if random else None,
    )
    return filling(stream)


def compress_to_levels(vector: np.ndarray, name: str) -> Callable[[], None]:
    """Find the norms, and fill every packet with levels."""
    kind, norm, result_type = LEVELS[name]
    grid, ends = grid_of(kind, 4), block_ends(len(vector), BLOCK_SIZE)
    stream = LevelSum(
        vector,
        np.empty_like(vector),
        NETWORK,
        grid,
        form=IntegerFormat(ElementType.CODE4, INTEGER_TYPES[result_type]),
        block_ends=ends,
        scales=scales_of(block_norms(vector, ends, norm), grid),
        key=random_key(0, 0, 0),
    )
    fill = filling(stream)

    def run() -> None:
        block_norms(vector, ends, norm)
        fill()

    return run


def filling(stream: ScaledSum) -> Callable[[], None]:
    """Fill every packet of a stream once."""
    elements = stream.elements_per_chunk
    room = new_contributions(ROWS, stream.form.bytes_up(elements) - HEADER_BYTES)
    make_ready(room, ROWS, elements)

    def run() -> None:
        for start in range(0, stream.num_chunks, ROWS):
            chunks = np.arange(start, min(start + ROWS, stream.num_chunks))
            stream.fill(chunks, room)

    return run


def torch_random(vector: torch.Tensor) -> torch.Tensor:
    scaled = vector * SCALE
    low = scaled.floor()
    integers = low + (torch.rand_like(scaled) < scaled - low)
    return integers.clamp_(-BOUND, BOUND).to(torch.int8)


def torch_deterministic(vector: torch.Tensor) -> torch.Tensor:
    return (vector * SCALE).round_().clamp_(-BOUND, BOUND).to(torch.int8)


def compare_with_torch(name: str, vector: np.ndarray) -> None:
    """IntSGD's kernel."""
    tensor = torch.from_numpy(vector)
    for rounding, reference in (
        ("random", torch_random),
        ("deterministic", torch_deterministic),
    ):
        ours = rate(compress(vector, rounding == "random"), vector.nbytes)
        theirs = rate(lambda run=reference, x=tensor: run(x), vector.nbytes)
        print(
            f"compress to int8, {rounding}, {name}: {ours:.1f} GB/s,"
            f" torch {theirs:.2f} GB/s, {ours / theirs:.0f} x",
            flush=True,
        )


def compare_levels(name: str, vector: np.ndarray) -> None:
    """Kernels of levels beside IntSGD's, each measured right after it."""
    for method in LEVELS:
        intsgd = rate(compress(vector, True), vector.nbytes)
        ours = rate(compress_to_levels(vector, method), vector.nbytes)
        print(
            f"compress to levels, {method}, norms included, {name}: {ours:.1f} GB/s,"
            f" {intsgd / ours:.2f} times IntSGD's time",
            flush=True,
        )


def main() -> None:
    """One figure a line."""
    torch.set_num_threads(1)
    for name, size in SIZES.items():
        vector = np.random.default_rng(0).standard_normal(size, np.float32)
        compare_with_torch(name, vector)
        compare_levels(name, vector)


if __name__ == "__main__":
    main()
