"""Faults at a switch's ports: the same however packets are batched, each link by
itself, and every packet accounted for."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from golden import STRANGER, Datagram
from traffic import ONCE, SMALL_JOB, contribution, values_of

from switch.config import FaultConfig, JobConfig, LinkEnd, LinkFaults, SwitchConfig
from switch.pipeline import Pipeline, next_due
from switch.ports import HELD

JOB = JobConfig(job=7, workers=SMALL_JOB.workers[:1], num_slots=1, slot_bytes=8)
PACKETS = 2000
BATCH = [contribution(JOB, 0, 0, [5])] * PACKETS
ALL = {
    "loss": 0.05, "burst_enter": 0.01, "burst_leave": 0.2, "duplication": 0.1,
    "reordering": 0.1, "corruption": 0.1, "flipped_bits": 2,
}  # fmt: skip


def config_with(
    inward: dict[str, Any] | None = None,
    outward: dict[str, Any] | None = None,
    **more: Any,
) -> SwitchConfig:
    faults = FaultConfig(
        inward=LinkFaults(**inward or {}), outward=LinkFaults(**outward or {}), **more
    )
    return SwitchConfig(num_slots=1, slot_bytes=8, jobs=(JOB,), faults=faults)


def switch_with(*args: Any, **more: Any) -> Pipeline:
    return Pipeline(config_with(*args, **more))


def numbered(count: int) -> list[Datagram]:
    """Queries: each is answered, with its own sequence as long as no slot is held."""
    packet, address = contribution(JOB, 0, 0, [])
    queries = []
    for sequence in range(count):
        header = bytearray(packet)
        header[0], header[8:12] = 0x12, sequence.to_bytes(4, "big")
        header[1] = 0
        queries.append((bytes(header), address))
    return queries


def order_of(copies: list[Datagram]) -> list[int]:
    return [int.from_bytes(packet[8:12], "big") for packet, _ in copies]


def test_without_faults_nothing_happens() -> None:
    switch = switch_with()
    assert len(switch.process(BATCH)) == PACKETS
    assert not any(
        n for name, n in switch.counters().items() if name.endswith(("_in", "_out"))
    )


def arrivals(counters: dict[str, int]) -> int:
    """Packets that came out of the links, by what became of those that went in."""
    return (
        PACKETS
        + counters["duplicated_in"]
        - counters["lost_in"]
        - counters["checksum_in"]
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_packet_is_accounted_for(seed: int) -> None:
    switch = switch_with(ALL, ALL, seed=seed)
    copies = switch.process(BATCH, now=0.0)
    copies += switch.process([], now=1.0)  # what was held back
    counters = switch.counters()
    assert sum(counters[name] for name in ONCE) == arrivals(counters)
    left = counters["lost_out"] + counters["checksum_out"] - counters["duplicated_out"]
    assert len(copies) == counters["copies"] - left
    assert next_due(switch.plane) == np.inf


def outcome(switch: Pipeline, size: int) -> tuple[list[Datagram], dict[str, int]]:
    copies: list[Datagram] = []
    for start in range(0, PACKETS, size):
        copies += switch.process(BATCH[start : start + size])
    return copies, switch.counters()


def test_a_run_repeats_whatever_its_batches() -> None:
    whole = outcome(switch_with(ALL, ALL, seed=5), PACKETS)
    assert whole == outcome(switch_with(ALL, ALL, seed=5), PACKETS)
    assert whole == outcome(switch_with(ALL, ALL, seed=5), 7)
    assert whole != outcome(switch_with(ALL, ALL, seed=6), PACKETS)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_uncompiled_ports_are_the_same(uncompiled: ModuleType) -> None:
    config = config_with(ALL, ALL | {"delay": 1e-3}, seed=2**63 - 1)
    slow, fast = uncompiled.Pipeline(config), Pipeline(config)
    for now in (0.0, 1e-3, 1.0):
        some = BATCH[:100] if now < 1.0 else []
        assert slow.process(some, now) == fast.process(some, now)
    assert slow.counters() == fast.counters()


@pytest.mark.parametrize("size", [1, 5, 40])
def test_packets_held_back_are_overtaken_by_so_many(size: int) -> None:
    switch = switch_with({"reordering": 0.2, "overtaken_by": 3}, seed=3)
    order: list[int] = []
    sent = numbered(40)
    for start in range(0, 40, size):
        order += order_of(switch.process(sent[start : start + size]))
    order += order_of(switch.process([], now=1.0))
    assert sorted(order) == list(range(40))
    assert order != list(range(40))
    for place, number in enumerate(order[:30]):
        later = [other for other in order[:place] if other > number]
        # those that are held back themselves do not overtake
        assert len(later) <= 3


def test_what_nothing_overtakes_goes_on_in_time() -> None:
    switch = switch_with({"reordering": 1.0, "held_for": 0.01, "overtaken_by": 0})
    assert switch.process(numbered(5), now=2.0) == []
    assert next_due(switch.plane) == 2.01
    assert switch.process([], now=2.009) == []
    assert order_of(switch.process([], now=2.01)) == [0, 1, 2, 3, 4]
    assert next_due(switch.plane) == np.inf


def test_delay_each_way() -> None:
    switch = switch_with({"delay": 0.25}, {"delay": 0.5})
    assert switch.process(numbered(3), now=1.0) == []
    assert switch.process([], now=1.25) == []
    assert next_due(switch.plane) == 1.75
    assert order_of(switch.process([], now=1.75)) == [0, 1, 2]


def test_more_than_a_port_holds_is_lost() -> None:
    switch = switch_with({"delay": 0.25})
    assert switch.process(numbered(HELD + 10), now=1.0) == []
    assert switch.counters()["lost_in"] == 10
    # a batch takes no more than it has room for
    found = order_of(switch.process([], now=2.0))
    while next_due(switch.plane) <= 2.0:
        found += order_of(switch.process([], now=2.0))
    assert found == list(range(HELD))


def test_what_the_checksum_misses_arrives_changed() -> None:
    switch = switch_with(None, {"corruption": 1.0, "flipped_bits": 2}, seed=1)
    copies = [packet for packet, _ in switch.process(BATCH)]
    counters = switch.counters()
    assert len(copies) == counters["corrupted_out"] > 10
    right = Pipeline(config_with()).process(BATCH[:2])[1][0]
    assert right not in copies
    assert all(len(packet) == len(right) for packet in copies)


LOSSY, GOOD = LinkEnd(inward=LinkFaults(loss=1.0)), LinkEnd()


def test_each_link_by_itself() -> None:
    """The address at the other end tells which; all others have what is left."""
    config = SwitchConfig(
        num_slots=1,
        slot_bytes=8,
        jobs=(SMALL_JOB,),
        faults=FaultConfig(
            inward=LinkFaults(loss=0.5),
            links=(("10.0.0.0", LOSSY), ("10.0.0.1", GOOD)),
        ),
    )
    switch = Pipeline(config)
    switch.process([contribution(SMALL_JOB, 0, 0, [1])] * 50)
    assert switch.counters()["lost_in"] == 50
    switch.process([contribution(SMALL_JOB, 1, 0, [1])] * 50)
    assert switch.counters()["lost_in"] == 50
    switch.process([(b"from nobody", STRANGER)] * 50)
    counters = switch.counters()
    assert 60 < counters["lost_in"] < 90
    assert counters["malformed"] == 100 - (counters["lost_in"] - 0)


def test_copies_of_a_multicast_have_fates_of_their_own() -> None:
    config = SwitchConfig(
        num_slots=1, slot_bytes=8, jobs=(SMALL_JOB,),
        faults=FaultConfig(outward=LinkFaults(loss=0.5), seed=2),
    )  # fmt: skip
    switch = Pipeline(config)
    reached = []
    for sequence in range(400):
        some = [contribution(SMALL_JOB, w, sequence, [w, 3]) for w in (0, 1)]
        copies = switch.process(some)
        assert all(values_of(packet) == [1, 6] for packet, _ in copies)
        reached.append({address for _, address in copies})
    zero, one = (
        {n for n, to in enumerate(reached) if w in to} for w in SMALL_JOB.workers
    )
    assert 150 < len(zero) < 250
    assert 60 < len(zero & one) < 140


def test_numbers_of_addresses_are_used_again_and_counts_kept() -> None:
    switch = switch_with({"loss": 1.0})
    for number in range(1, 300):
        switch.process(BATCH[:2])
        switch.remove(JOB.job)
        moved = JobConfig(
            job=7, workers=(("10.1.0.1", number),), num_slots=1, slot_bytes=8
        )
        switch.install(moved)
        switch.remove(7)
        switch.install(JOB)
    assert len(switch.known.known) == 1
    assert switch.counters()["lost_in"] == 2 * 299


def test_nothing_that_is_held_back_reaches_who_has_the_number_next() -> None:
    switch = switch_with(None, {"reordering": 1.0, "overtaken_by": 3, "held_for": 0.01})
    assert switch.process(BATCH[:2]) == []
    switch.remove(JOB.job)
    heir = JobConfig(job=7, workers=(("10.1.0.1", 9),), num_slots=1, slot_bytes=8)
    switch.install(heir)
    assert switch.process([], now=1.0) == []
    assert switch.counters()["lost_out"] == 2
    assert next_due(switch.plane) == np.inf
    # and its own packets are overtaken as ever
    held = switch.process([contribution(heir, 0, 0, [5])] * 4, now=1.0)
    assert [address for _, address in held] == [heir.workers[0]]
