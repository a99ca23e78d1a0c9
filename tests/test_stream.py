"""host/compressors/stream.py: the two aggregations, over a network of threads."""

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from quantizing import filled, stream_of

from host.compressors.base import Statistics, layout_of
from host.compressors.integers import integer_format
from host.compressors.quantize import NON_FINITE
from host.compressors.stream import (
    ExponentMax,
    ScaledSum,
    first_non_finite,
    non_finite_error,
)
from host.packetizer import Results
from switch.protocol import (
    HEADER_BYTES,
    NO_EXPONENT,
    ElementType,
    Flag,
    Reduction,
    kind_of,
)

INT8 = integer_format("int8", None)


@pytest.mark.parametrize(
    ("element", "result"),
    [
        *(("int8", "int8"), ("int8", "int16"), ("int8", "int32")),
        *(("int16", "int16"), ("int16", "int32"), ("int32", "int32")),
    ],
)
def test_sums_of_integers_are_exact_means(element: str, result: str) -> None:
    """Whatever the order of slots, and with contributions filled twice."""
    form = integer_format(element, result)
    vectors = np.random.default_rng(0).integers(-30, 31, (4, 777)).astype(np.float32)

    def work(network: LocalNetwork) -> ScaledSum:
        stream = ScaledSum(
            vectors[network.rank],
            np.full(777, np.nan, np.float32),
            network,
            form,
            block_ends=np.array([100, 777]),
            scales=np.array([1, 1], np.float32),
            key=None,
        )
        network.aggregate(stream)
        return stream

    sums = vectors.sum(axis=0).astype(np.int64)
    for stream in results_of(run_workers(4, work)):
        np.testing.assert_array_equal(stream.plan.mean, sums / 4)
        squares = [int((part**2).sum()) for part in (sums[:100], sums[100:])]
        assert stream.square_sums == squares
        statistics = Statistics()
        stream.add_to(statistics)
        assert statistics.largest_sum == np.abs(sums).max()
        assert statistics.overflows == statistics.clips == 0


def test_the_kind_says_sum_and_types() -> None:
    form = integer_format("int8", "int32")
    stream = stream_of(np.zeros(5, np.float32), form)
    assert stream.kind == kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT32)
    assert (stream.elements_per_chunk, stream.num_chunks) == (16, 1)


def test_empty_results_are_zeros_flags_and_exponents_are_counted() -> None:
    stream = stream_of(np.ones(100, np.float32), INT8, scale=2.0)
    results = Results(
        np.full(64, 4, np.uint8),
        np.zeros(2, np.int64),
        np.array([0, 64]),
        np.array([2, 2]),
        np.array([NON_FINITE, 5]),
        np.array([Flag.CLIPPED, Flag.OVERFLOW | Flag.REPEATED]),
    )
    stream.drain(np.array([1, 0]), results)
    assert stream.plan.mean.tolist() == [1.0] * 64 + [0.0] * 36
    assert stream.non_finite
    assert stream.overflows == 1


def test_bytes_are_counted_with_headers_and_empties() -> None:
    vector = np.repeat(np.array([1, 0, 1], np.float32), [16, 16, 8])
    stream = stream_of(vector, integer_format("int8", "int32"))
    assert filled(stream).element_count.tolist() == [16, 0, 16]
    counts = np.array([16, 0, 16])
    results = Results(
        np.zeros(64, np.uint8),
        np.zeros(3, np.int64),
        counts,
        np.ones(3, np.int64),
        np.full(3, NO_EXPONENT),
        np.zeros(3, np.int64),
    )
    stream.drain(np.arange(3), results)
    statistics = Statistics()
    stream.add_to(statistics)
    assert statistics.bytes_up == 3 * HEADER_BYTES + 2 * 16
    assert statistics.bytes_down == 3 * HEADER_BYTES + 2 * 64


def test_the_largest_integer_is_counted_before_clipping() -> None:
    stream = stream_of(np.array([1e12, -3e12], np.float32), INT8)
    filled(stream)
    statistics = Statistics()
    stream.add_to(statistics)
    assert statistics.largest_integer == int(np.float32(3e12))
    assert statistics.clips == 2


def test_exponents_come_out_as_their_maxima() -> None:
    exponents = np.random.default_rng(0).integers(NO_EXPONENT, 127, (5, 33))
    exponents[:, 7] = NO_EXPONENT

    def work(network: LocalNetwork) -> ExponentMax:
        stream = ExponentMax(exponents[network.rank])
        network.aggregate(stream)
        return stream

    for stream in results_of(run_workers(5, work)):
        np.testing.assert_array_equal(stream.maxima, exponents.max(axis=0))
        assert not stream.non_finite
        statistics = Statistics()
        stream.add_to(statistics)
        assert statistics.bytes_up == statistics.bytes_down == 33 * HEADER_BYTES


def test_one_worker_that_is_not_finite_is_known_to_all() -> None:
    def work(network: LocalNetwork) -> bool:
        stream = ExponentMax(np.array([3, NON_FINITE if network.rank == 1 else 4]))
        network.aggregate(stream)
        return stream.non_finite

    assert results_of(run_workers(3, work)) == [True] * 3


def test_errors_name_the_tensor_or_say_that_another_worker_does() -> None:
    layout = layout_of([("conv.weight", 4), ("conv.bias", 2)], 6)
    own = str(non_finite_error(5, layout, 3, 17))
    assert own.startswith("worker 3, step 17: conv.bias[1] is not finite")
    other = str(non_finite_error(None, layout, 0, 17))
    assert "another worker" in other
    assert first_non_finite(np.array([1, np.inf, np.nan], np.float32)) == 1
    assert first_non_finite(np.zeros(3, np.float32)) is None
