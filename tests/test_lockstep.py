"""Workers in lockstep: what comes out is what comes over any other network."""

import numpy as np
import pytest
from local_network import results_of, run_workers

from host.compressors import compressor
from intswitch.reproduce import lockstep
from intswitch.reproduce.lockstep import Lockstep, Worker

N = 3


def test_collectives() -> None:
    numbers = np.random.default_rng(0).integers(-1000, 1000, (N, 4321))
    arrays = numbers.astype(np.int32)
    bits = numbers % 5 == 0

    def work(network: Worker) -> None:
        rank = network.rank
        np.testing.assert_array_equal(network.sum(arrays[rank]), arrays.sum(axis=0))
        np.testing.assert_array_equal(network.max(arrays[rank]), arrays.max(axis=0))
        np.testing.assert_array_equal(network.union(bits[rank]), bits.any(axis=0))
        np.testing.assert_array_equal(network.broadcast(arrays[rank], 1), arrays[1])
        messages = [bytes([each]) * (100 * each) for each in range(N)]
        assert network.gather(messages[rank]) == messages
        network.barrier()
        assert network.exchange(rank) == [0, 1, 2]
        assert network.statistics.aggregations == 7

    lockstep.run(N, work, num_slots=4, slot_bytes=64)


@pytest.mark.parametrize("name", ["intsgd", "intdiana", "block_exponent", "heuristic"])
def test_means_are_those_of_another_network(name: str) -> None:
    gradients = np.random.default_rng(1).normal(size=(4, N, 777)).astype(np.float32)

    def work(network: Worker) -> np.ndarray:
        averager = compressor(name, element_type="int8")
        return np.array([averager.average(g[network.rank], network) for g in gradients])

    expected = results_of(run_workers(N, work, num_slots=4, slot_bytes=64))
    for means in lockstep.run(N, work, num_slots=4, slot_bytes=64):
        np.testing.assert_array_equal(means, expected[0])


def test_every_packet_went_through_the_switch() -> None:
    switch = Lockstep(2, num_slots=4, slot_bytes=64)
    streams = []

    class Recording(Worker):
        def aggregate(self, stream) -> None:  # type: ignore[no-untyped-def]
            streams.append(stream)

    for rank in range(2):
        Recording(switch, rank).sum(np.full(100, rank + 1, np.int32))
    switch.aggregate(streams)
    counters = switch.pipeline.counters()
    chunks = -(-100 * 4 // 64)
    assert (counters["accepted"], counters["results"]) == (2 * chunks, chunks)
    assert counters["duplicate"] == counters["ahead"] == counters["stale"] == 0
    assert all((stream.plan.out.view(np.int32) == 3).all() for stream in streams)


def test_an_error_of_one_worker_ends_all() -> None:
    def work(network: Worker) -> None:
        if network.rank == 1:
            raise ZeroDivisionError("here")
        network.barrier()

    with pytest.raises(ZeroDivisionError, match="here"):
        lockstep.run(N, work)


def test_workers_that_ask_for_different_things_are_told() -> None:
    def work(network: Worker) -> None:
        network.sum(np.zeros(10 + 1000 * network.rank, np.int32))

    with pytest.raises(RuntimeError, match="the workers' aggregations differ"):
        lockstep.run(N, work)


def test_an_overflow_is_an_error_here_too() -> None:
    with pytest.raises(OverflowError, match="left the range of int8"):
        lockstep.run(2, lambda network: network.sum(np.full(5, 100, np.int8)))
