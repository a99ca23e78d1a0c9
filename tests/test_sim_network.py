"""Workers that meet in virtual time: collectives, compressors, who leaves."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from host.compressors import compressor
from host.transport import AggregationError
from intswitch.fabrics.sim import Sim
from intswitch.sim.cables import Cable
from intswitch.sim.from_topology import tree_of_job
from intswitch.sim.meeting import Meeting, Seat
from intswitch.sim.network import SimNetwork, join
from intswitch.sim.simulation import Simulation
from intswitch.topology import Topology
from switch.config import LinkFaults
from switch.protocol import Overflow

LOSSY = Cable(up=LinkFaults(loss=0.05), down=LinkFaults(loss=0.05))
Work = Callable[[SimNetwork], Any]


@pytest.fixture
def cable() -> Cable:
    return LOSSY


@pytest.fixture
def simulator(tmp_path: Path, cable: Cable) -> Iterator[str]:
    def build(seat: Seat) -> Simulation:
        tree = ((0, 1), 2) if seat.num_workers == 3 else tuple(range(seat.num_workers))
        return Simulation(tree=tree, cable=cable, **seat.options)

    path = tmp_path / "simulator"
    meeting = Meeting(path, build)
    yield str(path)
    meeting.close()


def run_workers(
    simulator: str, num_workers: int, work: Work, **options: Any
) -> list[Any]:
    """What `work(network)` returned or raised on each worker."""
    given = {"num_slots": 8, "slot_bytes": 64, **options}
    outcomes: list[Any] = [None] * num_workers

    def run(rank: int) -> None:
        try:
            with join(
                simulator, job="job", rank=rank, num_workers=num_workers, **given
            ) as network:
                outcomes[rank] = work(network)
        except Exception as error:
            outcomes[rank] = error

    threads = [
        threading.Thread(target=run, args=(rank,)) for rank in range(num_workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a worker hangs"
    for outcome in outcomes:
        if isinstance(outcome, AssertionError):
            raise outcome
    return outcomes


def test_collectives_in_a_tree_that_loses_packets(simulator: str) -> None:
    def work(network: SimNetwork) -> Any:
        rank = network.rank
        values = np.arange(1000, dtype=np.int32) * (rank + 1)
        assert np.array_equal(network.sum(values), np.arange(1000) * 6)
        assert np.array_equal(network.max(values), np.arange(1000) * 3)
        assert network.gather(b"x" * rank) == [b"", b"x", b"xx"]
        assert np.array_equal(network.broadcast(values, 1), np.arange(1000) * 2)
        network.barrier()
        chunks, counters = network.chunks, network.counters()
        assert counters["accepted"] == chunks * network.accepted_per_chunk
        assert counters["results"] == chunks
        assert network.statistics.retransmissions > 0
        return network.switch, network.accepted_per_chunk

    assert run_workers(simulator, 3, work) == [(1, 3), (1, 3), (0, 2)]


@pytest.mark.parametrize("cable", [Cable()])
def test_results_for_one_worker_come_at_once(simulator: str) -> None:
    """Below any switch; the others get headers. Nothing is asked for again."""

    def work(network: SimNetwork) -> None:
        rank = network.rank
        parts = np.arange(300, dtype=np.int32).reshape(3, 100)
        assert np.array_equal(network.reduce_scatter(parts), parts[rank] * 3)
        for root in range(3):
            found = network.all_gather(parts[rank], root=root)
            assert found is None if rank != root else np.array_equal(found, parts)
        assert network.counters()["replays"] == network.statistics.retransmissions == 0

    assert run_workers(simulator, 3, work) == [None] * 3


def test_results_without_stragglers_say_how_many_are_in_them(simulator: str) -> None:
    """A packet that is lost makes a worker late, for more than a round trip."""

    def work(network: SimNetwork) -> Any:
        sums, counts = network.sum_of_some(np.ones(2000, np.int32))
        assert np.array_equal(sums, counts)
        partial = network.statistics.partial_results
        assert partial == np.count_nonzero(counts[::16] < 3) > 0
        return counts.tolist()

    # a slot for every chunk: nobody is left behind
    options = {"num_slots": 128, "straggler_timeout": 2e-6}
    first, *others = run_workers(simulator, 3, work, **options)
    assert others == [first, first]


def test_who_is_left_behind_ends_all(simulator: str) -> None:
    def work(network: SimNetwork) -> Any:
        for _ in range(9):
            network.sum(np.zeros(9999, np.int32))

    for error in run_workers(simulator, 3, work, straggler_timeout=1e-6):
        assert isinstance(error, AggregationError)
        assert "gone on without it" in str(error)


@pytest.mark.parametrize("name", ["fixed", "block_exponent"])
def test_compressors(simulator: str, name: str) -> None:
    """One whose chunks need earlier results, and one whose chunks do not."""
    gradient = np.random.default_rng(0).normal(size=2000).astype(np.float32)

    def work(network: SimNetwork) -> Any:
        chosen = compressor(name)
        return [chosen.average(gradient, network) for _ in range(2)]

    first, second = run_workers(simulator, 2, work)
    assert np.array_equal(first, second)
    assert np.abs(first[1] - gradient).mean() < 0.1


def test_the_clock_counts_virtual_time(simulator: str) -> None:
    def work(network: SimNetwork) -> None:
        before = network.clock()
        network.barrier()
        totals = network.statistics
        assert totals.aggregate_seconds >= totals.fill_seconds + 2e-6
        assert network.clock() - before >= totals.aggregate_seconds

    assert run_workers(simulator, 2, work) == [None, None]


def test_who_leaves_ends_the_others(simulator: str) -> None:
    def work(network: SimNetwork) -> None:
        if network.rank == 0:
            network.barrier()

    found = run_workers(simulator, 2, work)
    assert isinstance(found[0], AggregationError)


def test_aggregations_that_differ(simulator: str) -> None:
    def work(network: SimNetwork) -> None:
        network.sum(np.zeros(100 * network.rank + 1, np.int32))

    for error in run_workers(simulator, 2, work):
        assert isinstance(error, AggregationError)
        assert "aggregations differ" in str(error)


def test_a_topology_becomes_a_tree() -> None:
    document = {
        "switches": {"root": {}, "empty": {}, "leaf": {}},
        "hosts": ["a", "b", "c"],
        "links": [
            {"between": ["leaf", "root"], "rate": "10 Gbit/s", "queue": "64 kB"},
            {"between": ["empty", "root"]},
            {"between": ["a", "leaf"], "loss": 0.1, "toward": {"a": {"loss": 0.2}}},
            {"between": ["leaf", "b"], "delay": "5 us"},
            {"between": ["root", "c"]},
        ],
        "jobs": [{"name": "job", "workers": ["c", "b", "a"]}],
    }
    topology = Topology.model_validate(document)
    tree, cables = tree_of_job(topology, topology.jobs[0])
    assert tree == (0, (1, 2))
    assert set(cables) == {(0,), (1,), (1, 0), (1, 1)}
    assert (cables[1,].rate, cables[1,].queue) == (10e9, 64e3)
    assert (cables[1, 1].up.loss, cables[1, 1].down.loss) == (0.1, 0.2)
    assert cables[1, 0].up.delay == pytest.approx(5e-6)
    assert cables[0,].queue == np.inf


def topology_of(**switches: Any) -> Topology:
    return Topology.model_validate(
        {
            "switches": switches,
            "hosts": ["a", "b"],
            "links": [
                {"between": ["leaf", "root"], "queue": "1 MB"},
                {"between": ["a", "leaf"], "rate": "10 Gbit/s"},
                {"between": ["b", "root"]},
            ],
            "jobs": [
                {
                    "name": "job",
                    "workers": ["a", "b"],
                    "overflow": "wrap",
                    "straggler_timeout": "500 ms",
                    "packet_threshold": 3,
                }
            ],
        }
    )


def test_the_fabric_builds_what_the_topology_says() -> None:
    fabric = Sim(topology_of(root={}, leaf={}))
    fabric.folder = TemporaryDirectory()
    (job,) = fabric.topology.jobs
    told = fabric.join_options(job, 0, 2) | {"num_slots": 4, "slot_bytes": 64}
    fabric.stop()
    del told["simulator"]
    names = ("job", "rank", "num_workers")
    seat = Seat(**{name: told.pop(name) for name in names}, options=told)
    simulation = fabric.build(seat)
    assert simulation.tree == (1, (0,))
    assert simulation.cables[1, 0].rate == 10e9
    assert simulation.overflow == Overflow.WRAP
    assert simulation.straggler_timeout == 0.5
    assert simulation.recovery.packet_threshold == 3
    assert fabric.build(replace(seat, num_workers=1)).tree == (0,)


def test_the_fabric_has_one_rule() -> None:
    with pytest.raises(ValueError, match="one rule for all"):
        Sim(topology_of(root={}, leaf={"rule": "switchml"}))
