"""The compress kernel against the same in torch operations, one thread, in cache and
out of it: scale, round at random, clip, to int8 in network order."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from host.compressors.integers import IntegerFormat
from host.compressors.quantize import random_key
from host.compressors.stream import ScaledSum
from host.packetizer import make_ready, new_contributions
from switch.protocol import ElementType

ROWS = 240  # packets filled at once, as the agent does
SCALE = np.float32(3.0)
BOUND = 31  # int8, four workers
SIZES = {"4 MiB (cached)": 1 << 20, "100 MiB": 25 << 20}


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
    """Fill every packet of a vector once."""
    network: Any = SimpleNamespace(rank=0, num_workers=4, slot_bytes=1024)
    stream = ScaledSum(
        vector,
        np.empty_like(vector),
        network,
        IntegerFormat(ElementType.INT8, ElementType.INT8),
        block_ends=np.array([len(vector)]),
        scales=np.array([SCALE]),
        key=random_key(0, 0, 0) if random else None,
    )
    room = new_contributions(ROWS, 1024)
    make_ready(room, ROWS, 1024)

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


def main() -> None:
    """One figure a line."""
    torch.set_num_threads(1)
    for name, size in SIZES.items():
        vector = np.random.default_rng(0).standard_normal(size, np.float32)
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


if __name__ == "__main__":
    main()
