"""host/compressors/union.py: who has which elements, and everybody's messages."""

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray
from real_switch import run_workers as run_on_a_switch
from real_switch import running

from host.agent import Network
from host.compressors.base import Statistics
from host.compressors.union import BLOCK, gather_of, union_of
from switch.protocol import HEADER_BYTES

N = 3


def chosen(d: int, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """[N, d] in a few clusters, as sparse gradients have them."""
    random = np.random.default_rng(seed)
    blocks = random.random((N, -(-d // BLOCK), 1)) < share
    return (blocks & (random.random((N, blocks.shape[1], BLOCK)) < 0.2)).reshape(N, -1)[
        :, :d
    ]


@pytest.mark.parametrize("d", [1, 7, 8, 255, 256, 257, 5000, 100_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_union_is_every_workers(d: int, share: float) -> None:
    bits = chosen(d, share)
    found = results_of(run_workers(N, lambda each: union_of(bits[each.rank], each)))
    for union in found:
        assert union.dtype == np.int64
        np.testing.assert_array_equal(union, np.flatnonzero(bits.any(axis=0)))


def test_no_element_asks_for_no_packet() -> None:
    def work(network: LocalNetwork) -> int:
        assert len(union_of(np.zeros(0, bool), network)) == 0
        return network.fabric.aggregations

    assert results_of(run_workers(N, work)) == [0] * N


def test_few_elements_cost_bits_of_blocks_and_not_of_elements() -> None:
    """d = 2^21, one element: 8192 bits, and the 256 of its block; in slots of 64 bytes
    16 packets and one."""
    bits = np.zeros((N, 1 << 21), bool)
    bits[1, 12345] = True

    def work(network: LocalNetwork) -> Statistics:
        statistics = Statistics()
        assert union_of(bits[network.rank], network, statistics).tolist() == [12345]
        return statistics

    for statistics in results_of(run_workers(N, work)):
        assert statistics.bytes_up == statistics.bytes_down == 17 * (HEADER_BYTES + 64)


MESSAGES = [b"", b"x" * 64, b"y" * 1000]


def test_every_worker_has_all_messages() -> None:
    def work(network: LocalNetwork) -> tuple[list[bytes], Statistics]:
        statistics = Statistics()
        return gather_of(MESSAGES[network.rank], network, statistics), statistics

    packets = [0, 1, 16]
    for rank, (messages, statistics) in enumerate(results_of(run_workers(N, work))):
        assert messages == MESSAGES
        headers = (1 + 17) * HEADER_BYTES
        assert statistics.bytes_up == headers + (1 + packets[rank]) * 64
        assert statistics.bytes_down == headers + 18 * 64


def test_the_bytes_counted_are_those_that_a_real_network_sends() -> None:
    bits = chosen(100_000, 0.1)

    def work(network: Network) -> tuple[int, int, int]:
        statistics = Statistics()
        union_of(bits[network.rank], network, statistics)
        gather_of(MESSAGES[network.rank], network, statistics)
        traffic = network.statistics
        again = traffic.retransmissions + traffic.queries
        return statistics.bytes_up, traffic.bytes_sent, again

    with running() as switch:
        for counted, sent, again in run_on_a_switch(switch, N, work):
            assert counted == sent or again
