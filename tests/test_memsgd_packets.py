"""host/compressors/memsgd.py: what travels."""

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from memsgd_runs import N, dyadic, run

from host.compressors.memsgd import ENTRY, MemSGD
from host.compressors.selection import rand_k, shared_key, top_k
from intswitch.reproduce import lockstep
from switch.protocol import HEADER_BYTES


def test_random_elements_travel_without_keys() -> None:
    """One empty packet with the exponent, one with 20 integers."""
    for outcome in run(dyadic(3), select="rand", k=20):
        statistics = outcome.made.statistics
        assert statistics.bytes_up == 3 * (HEADER_BYTES + HEADER_BYTES + 64)
        assert statistics.bytes_down == statistics.bytes_up
        assert statistics.clips == 0
        assert 127 // N * 0.3 < statistics.largest_integer <= 127 // N


def test_the_union_costs_two_rounds_of_bits() -> None:
    """Blocks of 256 first: 20 bits; then 256 bits for each that is live."""
    gradients = np.zeros((1, N, 5000), np.float32)
    for rank in range(N):
        gradients[0, rank, 1024 + rank] = 1 + rank
    for outcome in run(gradients, k=1):
        assert np.flatnonzero(outcome.means[0]).tolist() == [1024, 1025, 1026, 1027]
        packets = HEADER_BYTES + 3 * (HEADER_BYTES + 64)
        assert outcome.made.statistics.bytes_down == packets


@pytest.mark.parametrize("select", ["top", "rand"])
def test_chunks_of_zeros_are_sent_empty(select: str) -> None:
    """Worker 0 has a gradient, of which a quarter is not zero; the others have none."""
    gradients = np.zeros((1, N, 256), np.float32)
    gradients[0, 0, 64:128] = 1
    sent = [
        outcome.made.statistics.bytes_up
        for outcome in run(gradients, select=select, k=256)
    ]
    if select == "rand":  # all 256: four chunks, of which one worker fills one
        assert sent == [HEADER_BYTES * 5 + 64 * (rank == 0) for rank in range(N)]
    else:  # the union has 64
        assert sent == [HEADER_BYTES * 4 + 64 * (2 + (rank == 0)) for rank in range(N)]


@pytest.mark.parametrize("path", ["network", "gather"])
def test_most_steps_of_ultra_sparsification_are_silent(path: str) -> None:
    """k = 1/10: one element in a tenth of the steps, at the same ones everywhere. A
    silent step is one packet: the exponent that there is none, or lengths of 0."""
    steps = 400
    outcomes = run(dyadic(steps, d=30), select="rand", k=0.1, path=path)
    counts = [np.count_nonzero(mean) for mean in outcomes[0].means]
    assert max(counts) == 1
    assert 20 < sum(counts) < 65
    silent, loud = HEADER_BYTES, 2 * HEADER_BYTES + 64
    if path == "gather":  # lengths; then four messages, of which one is its own
        silent, loud = HEADER_BYTES + 64, 5 * HEADER_BYTES + 2 * 64
    talks = sum(len(rand_k(30, 0.1, shared_key(0, step))) for step in range(steps))
    expected = (steps - talks) * silent + talks * loud
    assert outcomes[0].made.statistics.bytes_up == expected


def test_a_message_is_eight_bytes_an_element() -> None:
    gradients, seen = dyadic(1), []

    def work(network: LocalNetwork) -> None:
        gather = network.gather

        def spy(message: bytes) -> list[bytes]:
            seen.append((network.rank, message))
            return gather(message)

        network.gather = spy  # type: ignore[method-assign]
        MemSGD(k=6, path="gather").average(gradients[0, network.rank], network)

    results_of(run_workers(N, work))
    for rank, message in seen:
        assert len(message) == 6 * 8
        entries = np.frombuffer(message, ENTRY)
        chosen = top_k(gradients[0, rank], 6)
        assert entries["index"].tolist() == chosen.tolist()
        np.testing.assert_array_equal(entries["value"], gradients[0, rank, chosen])


@pytest.mark.parametrize("n", [2, 64])
@pytest.mark.parametrize("select", ["top", "rand"])
@pytest.mark.parametrize("element_type", ["int8", "int16", "int32"])
def test_the_largest_integers_of_all_workers_fit_the_switch(
    n: int, select: str, element_type: str
) -> None:
    """Every worker has the largest float below a power of two in every element, the
    signs alternating. 64 workers are the most that a job has."""
    worst = np.float32((1 - 2.0**-24) * 2.0**20)
    gradients = np.full((2, n, 40), worst)
    gradients[:, :, ::2] *= -1
    options = {"select": select, "k": 40, "element_type": element_type}
    outcomes = run(gradients, through=lockstep.run, **options)
    largest = 2 ** (8 * (1 << ["int8", "int16", "int32"].index(element_type)) - 1) - 1
    for outcome in outcomes:
        statistics = outcome.made.statistics
        assert statistics.overflows == statistics.clips == 0
        exactly = n * (largest // n)  # which an int32 may be half an ulp below
        assert exactly * (1 - 2.0**-22) < statistics.largest_sum <= exactly
        np.testing.assert_allclose(outcome.means, gradients[:, 0], rtol=1e-6)
