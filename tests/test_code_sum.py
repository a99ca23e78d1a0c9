"""host/compressors/code_sum.py: the sum of what codes stand for."""

from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.base import Statistics
from host.compressors.code_sum import CodeSum
from host.compressors.integers import IntegerFormat
from host.compressors.logcodes import NEGATIVE, LogCodes
from switch.protocol import HEADER_BYTES, ElementType

N = 3


def mean_of(exact: NDArray[Any]) -> NDArray[np.float32]:
    """Of the workers, from the exact sums, in the scale 0.5."""
    return exact.astype(np.float32) * np.float32(1 / (N * 0.5))


def summed(
    codes: NDArray[np.uint8], table: NDArray[np.int32], element: str, result: str
) -> list[tuple[NDArray[np.float32], Statistics]]:
    """codes: [N, d]. Every worker's mean with scale 0.5, and its statistics."""
    form = IntegerFormat(ElementType[element.upper()], ElementType[result.upper()])
    code4 = [*table[:8].tolist(), *table[NEGATIVE : NEGATIVE + 8].tolist()]

    def work(network: LocalNetwork) -> tuple[NDArray[np.float32], Statistics]:
        mean = np.full(codes.shape[1], np.nan, np.float32)
        stream = CodeSum(
            codes[network.rank], mean, network, form, table=table, scale=0.5
        )
        network.aggregate(stream)
        statistics = Statistics()
        stream.add_to(statistics)
        return mean, statistics

    tables = {"code4": tuple(code4), "code8": tuple(table.tolist())}
    return results_of(run_workers(len(codes), work, **tables))


@pytest.mark.parametrize(
    ("element", "result", "bits"),
    [
        *(("int8", "int8", 5), ("int8", "int16", 6), ("int8", "int32", 6)),
        *(("int16", "int16", 13), ("int16", "int32", 14), ("int32", "int32", 29)),
        *(("code4", "int8", 5), ("code4", "int16", 6), ("code4", "int32", 6)),
        *(("code8", "int8", 5), ("code8", "int16", 13), ("code8", "int32", 29)),
    ],
)
@pytest.mark.parametrize("d", [1, 15, 16, 17, 1000])
def test_sums_are_exact(element: str, result: str, bits: int, d: int) -> None:
    table = LogCodes(2.0, bits, False, False, bits).table
    codes = np.random.default_rng(d).choice(np.flatnonzero(table), (N, d))
    codes = codes.astype(np.uint8)
    codes[:, 0] = bits + 1  # the largest, on all workers
    exact = table[codes].sum(axis=0, dtype=np.int64)
    for mean, statistics in summed(codes, table, element, result):
        np.testing.assert_array_equal(mean, mean_of(exact))
        assert statistics.largest_integer == 2**bits
        assert statistics.largest_sum == np.abs(exact).max() == N * 2**bits


@pytest.mark.parametrize(
    ("element", "payload"), [("code4", 8), ("code8", 16), ("int8", 16), ("int32", 64)]
)
def test_chunks_with_nothing_in_them_are_sent_empty(element: str, payload: int) -> None:
    """16 sums of 32 bits fit a slot: three chunks, of which one is full on all, one on
    worker 1 alone, one on nobody."""
    table = LogCodes(2.0, 6, False, False, 6).table
    codes = np.zeros((N, 48), np.uint8)
    codes[:, 3], codes[1, 20] = 7, NEGATIVE | 1
    outcomes = summed(codes, table, element, "int32")
    exact = np.zeros(48)
    exact[3], exact[20] = N * 64, -1
    for rank, (mean, statistics) in enumerate(outcomes):
        np.testing.assert_array_equal(mean, mean_of(exact))
        up = 3 * HEADER_BYTES + (2 if rank == 1 else 1) * payload
        assert statistics.bytes_up == up
        assert statistics.bytes_down == 3 * HEADER_BYTES + 2 * 64
