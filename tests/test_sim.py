"""Virtual time: exact sums whatever links do, times that can be worked out by hand, and
the counts of a real run."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from real_switch import array_of, attempt, check_identities, running, total

from host.agent import Network, join
from host.recovery import Recovery
from intswitch.sim.cables import Cable
from intswitch.sim.report import Report, bound
from intswitch.sim.rivals import ring_all_reduce
from intswitch.sim.simulated import SimulationError
from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import number, tree_of
from switch.config import FaultConfig, LinkFaults
from switch.protocol import ElementType, Rule

FULL = 256  # int32 elements of a chunk
FAULTS = {
    "loss": LinkFaults(loss=0.02),
    "much loss": LinkFaults(loss=0.2),
    "bursts": LinkFaults(burst_enter=0.01, burst_leave=0.2),
    "duplication": LinkFaults(duplication=0.1),
    "reordering": LinkFaults(reordering=0.1, overtaken_by=5),
    "long reordering": LinkFaults(reordering=0.05, overtaken_by=0, held_for=1e-3),
    "corruption": LinkFaults(corruption=0.05),
    "everything": LinkFaults(
        loss=0.02, duplication=0.02, reordering=0.02, corruption=0.02
    ),
}


def faulty(faults: LinkFaults) -> Cable:
    return Cable(up=faults, down=faults)


def same(one: Report, other: Report) -> bool:
    pairs = zip(asdict(one).values(), asdict(other).values(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("window", [2, 16, 128])
def test_goodput_is_what_rate_and_window_allow(window: int) -> None:
    cable = Cable(rate=100e9, delay=2e-6)
    simulation = Simulation(tree=tree_of((4,)), cable=cable, num_slots=window)
    found = simulation.aggregate(5000 * FULL)
    expected = bound(cable.rate, cable.delay, window, 4 * FULL)
    assert 0.95 * expected <= found.goodput <= expected


def test_the_first_result_takes_a_round_trip() -> None:
    simulation = Simulation(tree=(0, 1), cable=Cable(rate=1e9, delay=1e-6))
    frame = 8 * (16 + 4 * FULL + 66) / 1e9
    assert simulation.aggregate(FULL).seconds == pytest.approx(2 * (frame + 1e-6))


def test_three_levels_take_three_round_trips() -> None:
    simulation = Simulation(tree=tree_of((2, 2, 2)), cable=Cable(rate=1e9, delay=1e-6))
    frame = 8 * (16 + 4 * FULL + 66) / 1e9
    found = simulation.aggregate(FULL)
    assert found.seconds == pytest.approx(6 * (frame + 1e-6))
    assert found.packet_hops == 2 * (2 + 4 + 8)


def test_counts_agree_with_a_real_run() -> None:
    size, slots = 1000 * FULL + 3, 64
    with running() as switch:
        outcome = attempt(
            switch, 3, lambda network: _sum(network, size), num_slots=slots
        )
        outcome.check()
        real = switch.settle()
    check_identities(real, [outcome])
    found = Simulation(tree=(0, 1, 2), num_slots=slots).aggregate(size)
    for name in ("accepted", "results"):
        assert found.counters[name] == real[name]
    assert found.retransmissions == found.queries == 0


def _sum(network: Network, size: int) -> None:
    network.sum(array_of(network.rank, size, np.int32))


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("tree", [(4,), (2, 1, 2)], ids=str)
def test_sums_are_exact_whatever_links_do(
    tree: tuple[int, ...], faults: LinkFaults
) -> None:
    """`aggregate` compares every result, and the counters; or it raises."""
    simulation = Simulation(tree=tree_of(tree), cable=faulty(faults), num_slots=16)
    for _ in range(3):
        found = simulation.aggregate(300 * FULL - 7)
        assert found.checked == found.num_workers * 300
        assert sum(found.faults.values()) > found.faults["seen"] > 0


@pytest.mark.parametrize("threshold", [0, 3])
@pytest.mark.parametrize("patience", [0.0, np.inf])
def test_sums_are_exact_however_losses_are_found(
    patience: float, threshold: int
) -> None:
    recovery = Recovery(1e-4, 1e-4, 1e-2, patience, threshold)
    cable = faulty(LinkFaults(loss=0.05, reordering=0.05))
    simulation = Simulation(tree=(0, 1, 2), cable=cable, recovery=recovery)
    assert simulation.aggregate(500 * FULL).retransmissions > 0


def test_much_loss_does_not_wait_for_long_timeouts() -> None:
    """With the timeouts of real sockets. It took 3 to 8 s, nearly all of it backoff."""
    for seed in range(3):
        simulation = Simulation(
            tree=((0, 1), (2, 3)), cable=faulty(FAULTS["much loss"]), num_slots=16,
            recovery=Recovery(), seed=seed,
        )  # fmt: skip
        assert simulation.aggregate(40 * FULL).seconds < 2.5


@pytest.mark.parametrize("tree", [((0, 1), 2), ((0,), 1), (0, ((1, 2), 3))])
def test_workers_beside_switches_whose_sums_are_wider(tree: Any) -> None:
    """At one switch elements of two types meet."""
    simulation = Simulation(tree=tree, cable=faulty(LinkFaults(loss=0.02)))
    report = simulation.aggregate(20_000, ElementType.INT8, ElementType.INT16)
    assert report.checked == report.num_workers * report.num_chunks


def test_a_packet_threshold_finds_losses_before_a_timer() -> None:
    timers = Recovery(1e-3, 1e-3, 1e-1, np.inf, 0)
    found = [
        Simulation(
            tree=(0, 1), cable=faulty(LinkFaults(loss=0.01)), recovery=recovery
        ).aggregate(2000 * FULL)
        for recovery in (timers, timers._replace(packet_threshold=3))
    ]
    assert 5 * found[1].seconds < found[0].seconds


def test_a_packet_threshold_grows_where_the_network_reorders() -> None:
    recovery = Recovery(1e-3, 1e-3, 1e-1, np.inf, 3)
    cable = faulty(LinkFaults(reordering=0.05, overtaken_by=5))
    simulation = Simulation(tree=(0, 1), cable=cable, recovery=recovery)
    first = simulation.aggregate(2000 * FULL).retransmissions
    assert (simulation.world.workers.windows["packet_threshold"] > 5).all()
    assert simulation.aggregate(2000 * FULL).retransmissions == 0 < first


def test_a_real_worker_may_have_a_packet_threshold() -> None:
    """It says when a packet counts as lost, and cannot make a sum wrong."""

    def work(network: Network) -> int:
        size = 100_000
        own = array_of(network.rank, size, np.int32, 2)
        np.testing.assert_array_equal(network.sum(own), total(2, size, np.int32))
        return int(network._transport.window["packet_threshold"])

    faults = FaultConfig(inward=LinkFaults(loss=0.02, reordering=0.05), seed=1)
    with running(faults=faults) as switch:
        outcome = attempt(switch, 2, work, packet_threshold=3)
        outcome.check()
        assert min(outcome.values) >= 3
        check_identities(switch.settle(), [outcome])
    with pytest.raises(ValueError, match="packet_threshold is -1: must be 0 or more"):
        join("127.0.0.1:1", job="j", rank=0, num_workers=1, packet_threshold=-1)


def test_a_run_repeats_from_its_seed() -> None:
    def run(seed: int) -> Report:
        simulation = Simulation(
            tree=tree_of((2, 2)), cable=faulty(FAULTS["everything"]), seed=seed
        )
        return simulation.aggregate(500 * FULL)

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


def test_corruption_that_udp_misses_is_counted() -> None:
    """One in 32 pairs of flipped bits: the same column, the other way."""
    cable = Cable(up=LinkFaults(corruption=0.2, flipped_bits=2))
    simulation = Simulation(tree=(0, 1), cable=cable, seed=1)
    found = simulation.aggregate(1000 * FULL)
    assert 1 / 64 < found.faults["missed"] / found.faults["caught"] < 1 / 16
    assert found.wrong > 0


def test_a_full_queue_drops_and_nothing_is_wrong() -> None:
    slow = Cable(rate=1e9, queue=5_000)

    def run(num_slots: int) -> Report:
        simulation = Simulation(
            tree=((0, 1), (2, 3)), cables={(0,): slow, (1,): slow}, num_slots=num_slots
        )
        return simulation.aggregate(1000 * FULL)

    # what a window can hold fits the queue of a link; then more than that
    assert run(4).dropped == 0
    found = run(64)
    assert found.dropped > 0
    assert 3_000 < found.longest_queue <= 5_000


def test_switchml_adds_late_packets_to_the_wrong_chunk() -> None:
    """A repeated packet that comes two round trips late; `safe` drops it."""
    faults = LinkFaults(duplication=0.1, reordering=0.1, overtaken_by=0, held_for=5e-6)

    def wrong(rule: Rule, seed: int) -> int:
        simulation = Simulation(
            tree=(0, 1), cable=faulty(faults), num_slots=1, rule=rule, seed=seed
        )
        return simulation.aggregate(30 * FULL).wrong

    assert sum(wrong(Rule.SAFE, seed) for seed in range(9)) == 0
    assert sum(wrong(Rule.SWITCHML, seed) for seed in range(9)) > 0


@pytest.mark.parametrize(
    ("element_type", "result_type"),
    [(ElementType.INT8, ElementType.INT8), (ElementType.INT8, ElementType.INT32),
     (ElementType.INT16, ElementType.INT16)],
)  # fmt: skip
def test_element_types(element_type: ElementType, result_type: ElementType) -> None:
    simulation = Simulation(tree=(0, 1, 2))
    found = simulation.aggregate(100_001, element_type, result_type)
    assert found.wrong == 0 < found.checked


def test_time_that_runs_out_is_told() -> None:
    simulation = Simulation(tree=(0, 1), cable=faulty(LinkFaults(loss=1.0)))
    with pytest.raises(SimulationError, match=r"worker 0 has 0 of 1 results"):
        simulation.aggregate(FULL, timeout=2.0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tree": tree_of((65,))}, "65 children: allowed are 1 to 64"),
        ({"tree": (0, 2)}, "each rank from 0 on once"),
        ({"tree": (0, 1), "num_slots": 12}, "num_slots 12: must be a power of two"),
    ],
)
def test_what_cannot_be_simulated_is_told(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Simulation(**options)


def test_what_is_no_cable_is_told() -> None:
    with pytest.raises(ValueError, match="rate 0 bit/s: must be more than 0"):
        Cable(rate=0)
    with pytest.raises(ValueError, match="needs a rate or a delay"):
        Cable(rate=np.inf, delay=0)
    with pytest.raises(ValueError, match="one without faults"):
        ring_all_reduce((0, 1), faulty(LinkFaults(loss=0.1)), 1000, 1000)


def test_nodes_of_an_uneven_tree() -> None:
    nodes, _ = number((3, (0, (2,)), 1), 64)
    assert nodes.rank.tolist() == [-1, 3, -1, 1, 0, -1, 2]
    assert nodes.switch.tolist() == [0, -1, 1, -1, -1, 2, -1]
    assert nodes.first_child.tolist() == [1, 4, 6]
    assert nodes.num_children.tolist() == [3, 2, 1]
    assert nodes.at_rank.tolist() == [4, 3, 6, 1]
