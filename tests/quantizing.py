"""One vector to integers and back, without a network: for the tests of the kernels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.integers import IntegerFormat
from host.compressors.stream import ScaledSum
from host.packetizer import Contributions, Results
from switch.protocol import EVERY_WORKER, NO_EXPONENT

RUBBISH = 0xA5


def stream_of(
    vector: NDArray[np.float32],
    form: IntegerFormat,
    *,
    scale: float | list[float] = 1.0,
    block_ends: list[int] | None = None,
    key: NDArray[np.uint32] | None = None,
    num_workers: int = 1,
    slot_bytes: int = 64,
    clip: bool = True,
) -> ScaledSum:
    """A scaled sum of `vector`; its mean starts as NaN."""
    scales = [scale] if isinstance(scale, float) else scale
    network: Any = SimpleNamespace(num_workers=num_workers, slot_bytes=slot_bytes)
    return ScaledSum(
        vector,
        np.full(len(vector), np.nan, np.float32),
        network,
        form,
        block_ends=np.array(block_ends or [len(vector)], np.int64),
        scales=np.array(scales, np.float32),
        key=key,
        clip=clip,
    )


def filled(stream: ScaledSum, chunks: list[int] | None = None) -> Contributions:
    """Its contributions, in rows that were rubbish before."""
    wanted = np.array(range(stream.num_chunks) if chunks is None else chunks, np.int64)
    rows, width = len(wanted), stream.form.bytes_up(stream.elements_per_chunk)
    contributions = Contributions(
        np.full((rows, width), RUBBISH, np.uint8),
        np.full(rows, stream.elements_per_chunk, np.int64),
        np.full(rows, EVERY_WORKER, np.int64),
        np.full(rows, NO_EXPONENT, np.int64),
        np.zeros(rows, np.int64),
    )
    stream.fill(wanted, contributions)
    return contributions


def integers_of(stream: ScaledSum) -> NDArray[np.int64]:
    """[chunks * elements_per_chunk] what is sent, padding included."""
    payload = filled(stream).payload.copy()
    return payload.view(f">i{stream.form.element_bytes}").reshape(-1).astype(np.int64)


def drained(stream: ScaledSum, sums: NDArray[np.int64], num_workers: int) -> None:
    """Hand the stream results of all its chunks, with these sums."""
    rows = stream.num_chunks
    width = stream.elements_per_chunk * stream.form.result_bytes
    buffer = np.full(rows * width, RUBBISH, np.uint8)
    wire = sums.astype(f">i{stream.form.result_bytes}").view(np.uint8)
    buffer[: len(wire)] = wire
    results = Results(
        buffer,
        np.arange(rows, dtype=np.int64) * width,
        np.full(rows, stream.elements_per_chunk, np.int64),
        np.full(rows, num_workers, np.int64),
        np.full(rows, NO_EXPONENT, np.int64),
        np.zeros(rows, np.int64),
    )
    stream.drain(np.arange(rows, dtype=np.int64), results)
