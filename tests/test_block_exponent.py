"""host/compressors/block_exponent.py: SwitchML's block floating point."""

import math
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.block_exponent import BlockExponent, BlockExponentSum
from host.compressors.integers import integer_format
from host.packetizer import new_contributions
from switch.protocol import HEADER_BYTES

N = 4
TYPES = ["int8", "int16", "int32"]
BLOCK = 16  # int32 elements of a slot of 64 bytes


def average(
    gradients: NDArray[np.float32], num_slots: int = 4, **options: Any
) -> list[tuple[NDArray[np.float32], BlockExponent]]:
    def work(network: LocalNetwork) -> tuple[NDArray[np.float32], BlockExponent]:
        compressor = BlockExponent(**options)
        return compressor.average(gradients[network.rank], network), compressor

    return results_of(run_workers(len(gradients), work, num_slots=num_slots))


def of_many_magnitudes(blocks: int, n: int = N) -> NDArray[np.float32]:
    """[n, 16 * blocks]: every block of its own magnitude, 1e-30 to 1e30."""
    rng = np.random.default_rng(0)
    magnitudes = 10.0 ** rng.uniform(-30, 30, (1, blocks, 1))
    elements = rng.normal(size=(n, blocks, BLOCK)) * magnitudes
    return elements.reshape(n, -1).astype(np.float32)


@pytest.mark.parametrize("num_slots", [1, 2, 4, 32])
def test_every_block_is_as_precise_as_its_own_magnitude(num_slots: int) -> None:
    """|error| <= 2^e / (2 bound) per worker, for the block's largest exponent e. Also
    with fewer blocks than slots, and one slot."""
    gradients = of_many_magnitudes(10)
    blocks = np.abs(gradients).reshape(N, 10, BLOCK).max(axis=(0, 2))
    step = 2.0 ** (np.floor(np.log2(blocks)) + 1) / ((2**31 - 1) // N)
    exact = gradients.mean(axis=0, dtype=np.float64)
    outcomes = average(gradients, num_slots)
    for mean, compressor in outcomes:
        assert mean.tobytes() == outcomes[0][0].tobytes()
        error = np.abs(mean - exact).reshape(10, BLOCK).max(axis=1)
        float32 = 2.0**-23 * blocks
        assert (error <= step / 2 + float32).all()
        assert compressor.statistics.clips == compressor.statistics.overflows == 0


@pytest.mark.parametrize("element_type", TYPES)
def test_coarse_types_err_by_half_an_integer(element_type: str) -> None:
    gradients = np.random.default_rng(0).uniform(-1, 1, (N, 500)).astype(np.float32)
    gradients[:, ::16] = 0.9  # every block has the exponent 0
    top = 2 ** (8 * (1 << TYPES.index(element_type)) - 1) - 1
    mean = average(gradients, element_type=element_type)[0][0]
    error = np.abs(mean - gradients.mean(axis=0)).max()
    assert error <= 0.5 / (top // N) + 1e-6
    if element_type == "int8":
        assert error > 0.2 / (top // N)


@pytest.mark.parametrize("n", [1, 2, 3, 16, 64])
@pytest.mark.parametrize("element_type", TYPES)
def test_nothing_is_clipped_or_overflows(n: int, element_type: str) -> None:
    """The worst block: all elements of all workers just below the power of two."""
    for exponent in (-100, 0, 99):
        worst = np.float32((1 - 2.0**-24) * 2.0**exponent)
        gradients = np.full((n, 40), worst)
        mean, compressor = average(gradients, element_type=element_type)[0]
        assert compressor.statistics.clips == compressor.statistics.overflows == 0
        np.testing.assert_allclose(mean, worst, rtol=1e-6)


def test_blocks_of_zeros_are_sent_empty() -> None:
    gradients = of_many_magnitudes(6)
    gradients[:, 16:64] = 0
    gradients[1:, 64:80] = 0  # zero on some workers only
    outcomes = average(gradients, num_slots=2)
    for rank, (mean, compressor) in enumerate(outcomes):
        assert not mean[16:64].any()
        np.testing.assert_allclose(mean[64:80], gradients[0, 64:80] / N, rtol=1e-6)
        empty, full = HEADER_BYTES, HEADER_BYTES + 64
        expected = 2 * empty + 3 * empty + 3 * full
        own = expected if rank == 0 else expected - 64
        assert compressor.statistics.bytes_up == own
        assert compressor.statistics.bytes_down == expected
    all_zero = average(np.zeros((N, 100), np.float32))[0][0]
    assert not all_zero.any()


def test_tiny_and_huge_blocks() -> None:
    """Denormals come out as zero or tiny; from 2^126 on elements are clipped."""
    gradients = np.zeros((N, 64), np.float32)
    gradients[:, :16] = 1e-45
    gradients[:, 16:32] = 2.0**-100
    gradients[:, 32:48] = 2.0**125
    gradients[:, 48:] = -3.4e38
    mean = average(gradients)[0][0]
    assert np.abs(mean[:16]).max() < 1e-36
    np.testing.assert_allclose(mean[16:32], 2.0**-100, rtol=1e-5)
    np.testing.assert_allclose(mean[32:48], 2.0**125, rtol=1e-6)
    np.testing.assert_allclose(mean[48:], -(2.0**126), rtol=1e-6)


@pytest.mark.parametrize("rounding", ["deterministic", "random"])
@pytest.mark.parametrize("element_type", TYPES)
def test_exponents_that_come_first_are_the_same(
    element_type: str, rounding: str
) -> None:
    """Also of zeros, of denormals, and of what is clipped; in fewer bytes."""
    gradients = of_many_magnitudes(40)
    gradients[:, 16:48] = 0
    gradients[1:, 48:64] = 0
    gradients[:, 64:80] = 1e-45
    gradients[0, 80] = -3.4e38
    options = {"element_type": element_type, "rounding": rounding}
    ahead = average(gradients, **options)
    first = average(gradients, **options, exponents="first")
    for (mean, one), (same, other) in zip(ahead, first, strict=True):
        assert mean.tobytes() == same.tobytes()
        one, other = one.statistics, other.statistics
        assert (one.clips, one.largest_sum) == (other.clips, other.largest_sum)
        assert one.largest_integer == other.largest_integer
    chunks = -(-640 // (64 // (1 << TYPES.index(element_type))))
    rounds = 4 * HEADER_BYTES, HEADER_BYTES + 64  # a window of headers; 64 exponents
    assert other.bytes_down - one.bytes_down == rounds[1] - rounds[0]
    assert chunks <= 64


@pytest.mark.parametrize("exponents", ["ahead", "first"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [3, 159])
def test_all_workers_raise_when_one_block_is_not_finite(
    bad: float, at: int, exponents: str
) -> None:
    """In the first window, and in the last; and the network can be used further."""
    gradients = of_many_magnitudes(10)
    broken = gradients.copy()
    broken[2, at] = bad

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        compressor = BlockExponent(exponents=exponents)
        text = rf"gradient\[{at}\]" if network.rank == 2 else "another worker"
        with pytest.raises(ValueError, match=text):
            compressor.average(broken[network.rank], network)
        return compressor.average(gradients[network.rank], network)

    expected = average(gradients)[0][0]
    for mean in results_of(run_workers(N, work)):
        assert mean.tobytes() == expected.tobytes()


def test_the_gradient_may_be_overwritten() -> None:
    gradients = of_many_magnitudes(10)
    expected = average(gradients)[0][0]

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        mine = gradients[network.rank].copy()
        return BlockExponent().average(mine, network, out=mine)

    for mean in results_of(run_workers(N, work)):
        assert mean.tobytes() == expected.tobytes()


def test_a_chunk_without_exponent_is_a_mistake_of_the_network() -> None:
    def work(network: LocalNetwork) -> None:
        stream = BlockExponentSum(
            np.ones(100, np.float32),
            np.empty(100, np.float32),
            network,
            np.zeros(7, np.int64),
            np.zeros(4, np.int64),
            form=integer_format("int32", None),
            block_ends=np.append(np.arange(16, 100, 16), 100),
            key=None,
        )
        room = new_contributions(1, 64)
        stream.fill(np.array([3]), room)
        with pytest.raises(RuntimeError, match="a chunk is sent before the result"):
            stream.fill(np.array([4]), room)

    results_of(run_workers(1, work))


def test_random_rounding_repeats_from_its_seed() -> None:
    gradients = np.random.default_rng(0).normal(size=(N, 99)).astype(np.float32)
    options = {"element_type": "int8", "rounding": "random"}
    once, again, other = (
        average(gradients, seed=seed, **options)[0][0].tobytes() for seed in (1, 1, 2)
    )
    assert once == again != other


@pytest.mark.parametrize("d", [0, 1, 15, 16, 17, 65])
def test_any_number_of_elements(d: int) -> None:
    gradients = np.random.default_rng(1).normal(size=(N, d)).astype(np.float32)
    mean = average(gradients)[0][0]
    np.testing.assert_allclose(mean, gradients.mean(axis=0), rtol=1e-5, atol=1e-6)
