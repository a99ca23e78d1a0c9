"""FastSGD's encoder and decoder against the same in numpy and in torch, one thread.

The numpy and torch versions look at all elements in a few calls: exponents by frexp,
what is left by nonzero, differences of keys spread to bits and packed. They have the
coding of keys chosen for them, and decode a layout with a stream of flags of its own:
flags that lie between differences could only be found one after the other."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.compress import compress, rate
from host.compressors.code_sum import CodeSum
from host.compressors.deltas import Coding, best_coding, count_lengths
from host.compressors.fastsgd import FastSGD
from host.compressors.logcodes import LogCodes
from host.compressors.natural import Natural
from host.compressors.pairs import add_pairs, decode_pairs, encode_pairs, select
from host.compressors.quantize import random_key
from host.packetizer import make_ready, new_contributions
from switch.protocol import HEADER_BYTES

THRESHOLD = 14
VALUE_BITS = 5
LOG = LogCodes(2.0, THRESHOLD, random=False, dense=False)
KEY = random_key(0, 0, 0)
SIZE = 4 << 20
SIZES = (1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24)
SHARES = (0.1, 0.01, 0.001)
NETWORK: Any = SimpleNamespace(rank=0, num_workers=4, slot_bytes=1024)
ROWS = 240

Bits = NDArray[np.uint8]


def gradient(size: int, share: float) -> NDArray[np.float32]:
    """Normal, of which `share` passes the threshold, and the rest is smaller."""
    chance = np.random.default_rng(0)
    vector = chance.standard_normal(size, np.float32) * np.float32(1e-6)
    kept = chance.random(size) < share
    vector[kept] = chance.uniform(1e-4, 1, kept.sum())
    return vector


def encode(vector: NDArray[np.float32]) -> bytes:
    return encode_pairs(LOG.encode(vector, 0, KEY), 0, LOG)


def decode(message: bytes, size: int) -> NDArray[np.float32]:
    total = np.zeros(size, np.float32)
    exponent, pairs = decode_pairs(message, size, LOG)
    add_pairs(total, pairs, exponent, LOG)
    return total


class TwoStreams(NamedTuple):
    """What numpy and torch write: values, flags and differences, packed."""

    values: Any
    flags: Any
    differences: Any
    count: int


def numpy_bits(numbers: NDArray[Any], widths: NDArray[Any]) -> Bits:
    """Low bits first, numbers one after the other."""
    starts = np.cumsum(widths) - widths
    within = np.arange(widths.sum()) - np.repeat(starts, widths)
    bits = np.repeat(numbers, widths) >> within & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little")


def numpy_encode(vector: NDArray[np.float32], coding: Coding) -> TwoStreams:
    """Nearest power of two, threshold, keys: as `encode`, in another layout."""
    fraction, exponent = np.frexp(np.abs(vector))
    p = np.maximum(1 - exponent - (fraction > np.sqrt(0.5)), 0)
    keys = np.flatnonzero((p <= THRESHOLD) & (fraction > 0))
    values = p[keys] | (vector[keys] < 0) << (VALUE_BITS - 1)
    spread = values[:, None] >> np.arange(VALUE_BITS) & 1
    packed = np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little")
    differences = np.diff(keys, prepend=0)
    lengths = np.maximum(np.frexp(differences.astype(np.float64))[1], 1)
    units = -(-lengths // coding.unit)
    flags = numpy_bits((1 << (units - 1)) - 1, units)
    return TwoStreams(
        packed, flags, numpy_bits(differences, units * coding.unit), len(keys)
    )


def numpy_decode(message: TwoStreams, size: int, coding: Coding) -> NDArray[Any]:
    bits = np.unpackbits(message.values, bitorder="little")
    spread = bits[: message.count * VALUE_BITS].reshape(-1, VALUE_BITS)
    values = spread @ (1 << np.arange(VALUE_BITS))
    zeros = np.flatnonzero(np.unpackbits(message.flags, bitorder="little") == 0)
    units = np.diff(zeros[: message.count], prepend=-1)
    widths = units * coding.unit
    starts = np.cumsum(widths) - widths
    within = np.arange(widths.sum()) - np.repeat(starts, widths)
    bits = np.unpackbits(message.differences, bitorder="little", count=len(within))
    keys = np.cumsum(np.add.reduceat(bits.astype(np.int64) << within, starts))
    sign = 1 - 2 * (values >> (VALUE_BITS - 1)).astype(np.float32)
    out = np.zeros(size, np.float32)
    out[keys] = np.ldexp(sign, -(values & (1 << VALUE_BITS - 1) - 1))
    return out


def torch_pack(bits: torch.Tensor) -> torch.Tensor:
    """torch has no packbits: eight bits times powers of two, and their sum."""
    padded = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).reshape(-1, 8)
    return (padded << torch.arange(8)).sum(1).to(torch.uint8)


def torch_bits(numbers: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    starts = torch.cumsum(widths, 0) - widths
    within = torch.arange(int(widths.sum())) - torch.repeat_interleave(starts, widths)
    return torch_pack(torch.repeat_interleave(numbers, widths) >> within & 1)


def torch_encode(vector: torch.Tensor, coding: Coding) -> TwoStreams:
    fraction, exponent = torch.frexp(vector.abs())
    p = (1 - exponent - (fraction > 0.5**0.5).int()).clamp_(min=0)
    keys = torch.nonzero((p <= THRESHOLD) & (fraction > 0)).squeeze(1)
    values = p[keys] | (vector[keys] < 0).int() << (VALUE_BITS - 1)
    spread = values[:, None] >> torch.arange(VALUE_BITS) & 1
    differences = torch.diff(keys, prepend=torch.zeros(1, dtype=keys.dtype))
    lengths = torch.frexp(differences.double())[1].clamp_(min=1).long()
    units = -(-lengths // coding.unit)
    flags = torch_bits((1 << (units - 1)) - 1, units)
    packed = torch_bits(differences, units * coding.unit)
    return TwoStreams(torch_pack(spread.reshape(-1)), flags, packed, len(keys))


def coding_of(vector: NDArray[np.float32]) -> Coding:
    lengths = np.zeros(33, np.int64)
    count_lengths(select(LOG.encode(vector, 0, KEY)).keys, lengths)
    return best_coding(lengths)


def check(vector: NDArray[np.float32], coding: Coding) -> None:
    """All versions say the same of this vector."""
    theirs = numpy_encode(vector, coding)
    ours = decode(encode(vector), len(vector))
    np.testing.assert_array_equal(numpy_decode(theirs, len(vector), coding), ours)
    others = torch_encode(torch.from_numpy(vector), coding)
    for one, two in zip(theirs, others, strict=True):
        np.testing.assert_array_equal(one, np.asarray(two))


def compare_encoders(share: float) -> None:
    """Whole messages of a sparse gradient."""
    vector = gradient(SIZE, share)
    tensor, coding = torch.from_numpy(vector), coding_of(vector)
    assert coding.unary, "the other versions have no fixed flags"
    check(vector, coding)
    message, other = encode(vector), numpy_encode(vector, coding)
    ours = rate(lambda: encode(vector), vector.nbytes)
    numpy = rate(lambda: numpy_encode(vector, coding), vector.nbytes)
    torch_ = rate(lambda: torch_encode(tensor, coding), vector.nbytes)
    print(
        f"fastsgd encode, {share:.1%} kept: {ours:.2f} GB/s, numpy {numpy:.3f} GB/s"
        f" ({ours / numpy:.0f} x), torch {torch_:.3f} GB/s ({ours / torch_:.0f} x)",
        flush=True,
    )
    ours = rate(lambda: decode(message, SIZE), vector.nbytes)
    numpy = rate(lambda: numpy_decode(other, SIZE, coding), vector.nbytes)
    print(
        f"fastsgd decode, {share:.1%} kept: {ours:.2f} GB/s, numpy {numpy:.3f} GB/s"
        f" ({ours / numpy:.0f} x)",
        flush=True,
    )


def show_time(size: int) -> None:
    """Nanoseconds an element: that they stay the same is linear time."""
    vector = gradient(size, 0.01)
    message = encode(vector)
    encoded = 4 / rate(lambda: encode(vector), vector.nbytes)
    decoded = 4 / rate(lambda: decode(message, size), vector.nbytes)
    print(
        f"fastsgd, {size} elements, 1.0% kept: encode {encoded:.2f} ns an element,"
        f" decode {decoded:.2f} ns",
        flush=True,
    )


def compress_dense(made: FastSGD, vector: NDArray[np.float32]) -> Callable[[], None]:
    """Codes of all elements, and every packet filled once."""
    form, log = made.form_for(NETWORK.num_workers)

    def run() -> None:
        codes = log.encode(vector, 3, KEY)
        stream = CodeSum(codes, vector, NETWORK, form, table=log.table, scale=1.0)
        for start in range(0, stream.num_chunks, ROWS):
            chunks = np.arange(start, min(start + ROWS, stream.num_chunks))
            stream.fill(chunks, room)

    size = form.elements_per_chunk(NETWORK.slot_bytes)
    room = new_contributions(ROWS, form.bytes_up(size) - HEADER_BYTES)
    make_ready(room, ROWS, size)
    return run


DENSE: dict[str, FastSGD] = {
    "natural, code8": Natural(),
    "natural, int32": Natural(wire="integers"),
    "fastsgd dense tau=6, code4": FastSGD(threshold=6, dense=True, rounding="random"),
    "fastsgd dense base 1.1, code8": FastSGD(
        base=1.1, threshold=100, dense=True, rounding="random"
    ),
}


def compare_dense() -> None:
    """Beside IntSGD's kernel, measured right before."""
    vector = np.random.default_rng(0).standard_normal(SIZE, np.float32)
    for name, made in DENSE.items():
        intsgd = rate(compress(vector, True), vector.nbytes)
        ours = rate(compress_dense(made, vector), vector.nbytes)
        print(
            f"compress, {name}: {ours:.1f} GB/s, {intsgd / ours:.2f} times IntSGD's"
            " time",
            flush=True,
        )


def main() -> None:
    """One figure a line."""
    torch.set_num_threads(1)
    for share in SHARES:
        compare_encoders(share)
    for size in SIZES:
        show_time(size)
    compare_dense()


if __name__ == "__main__":
    main()
