"""Injected loss: seeded, the same however packets are batched, and nothing but loss."""

from types import ModuleType

import pytest
from golden import Datagram
from traffic import SMALL_JOB, contribution

from switch.config import FaultConfig, JobConfig, SwitchConfig
from switch.faults import IN, OUT, uniform
from switch.pipeline import Pipeline

JOB = JobConfig(job=7, workers=SMALL_JOB.workers[:1], num_slots=1, slot_bytes=8)
PACKETS = 2000
BATCH = [contribution(JOB, 0, 0, [5])] * PACKETS


def switch_with(**faults: float) -> Pipeline:
    return Pipeline(config_with(**faults))


def config_with(**faults: float) -> SwitchConfig:
    return SwitchConfig(
        num_slots=1,
        slot_bytes=8,
        jobs=(JOB,),
        faults=FaultConfig(**faults),  # type: ignore[arg-type]
    )


def in_pieces(switch: Pipeline, size: int) -> list[Datagram]:
    copies = []
    for start in range(0, PACKETS, size):
        copies += switch.process(BATCH[start : start + size])
    return copies


def test_without_faults_nothing_is_lost() -> None:
    switch = switch_with()
    assert len(switch.process(BATCH)) == PACKETS
    assert switch.counters()["lost_in"] == switch.counters()["lost_out"] == 0


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("loss", [0.01, 0.3, 1.0])
def test_as_much_is_lost_as_asked_for(direction: str, loss: float) -> None:
    switch = switch_with(**{f"loss_{direction}": loss, "seed": 1})
    copies = switch.process(BATCH)
    counters = switch.counters()
    lost = counters[f"lost_{direction}"]
    # four standard deviations of a binomial
    assert abs(lost - loss * PACKETS) <= 4 * (loss * (1 - loss) * PACKETS) ** 0.5
    assert len(copies) == PACKETS - lost
    arrived = PACKETS - counters["lost_in"]
    assert counters["accepted"] + counters["replays"] == arrived


def outcome(switch: Pipeline, size: int) -> tuple[list[Datagram], dict[str, int]]:
    return in_pieces(switch, size), switch.counters()


def test_a_run_repeats_whatever_its_batches() -> None:
    faults = {"loss_in": 0.2, "loss_out": 0.2, "seed": 5}
    whole = outcome(switch_with(**faults), PACKETS)
    assert whole == outcome(switch_with(**faults), PACKETS)
    assert whole == outcome(switch_with(**faults), 7)
    assert whole != outcome(switch_with(**{**faults, "seed": 6}), PACKETS)


def lost_packets(**faults: float) -> list[bool]:
    """Packet by packet: whether it came through, and back."""
    switch = switch_with(**faults)
    return [not switch.process([packet]) for packet in BATCH[:500]]


def test_the_directions_lose_different_packets() -> None:
    assert lost_packets(loss_in=0.3, seed=1) != lost_packets(loss_out=0.3, seed=1)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_uncompiled_faults_are_the_same(uncompiled: ModuleType) -> None:
    config = config_with(loss_in=0.2, loss_out=0.2, seed=2**63 - 1)
    few = BATCH[:300]
    assert uncompiled.Pipeline(config).process(few) == Pipeline(config).process(few)


@pytest.mark.parametrize("distance", [1, 2, 8, 64])
@pytest.mark.parametrize("direction", [IN, OUT])
def test_copies_are_lost_independently(direction: int, distance: int) -> None:
    """Two copies of a multicast, or the same worker's of two, within five sigma."""
    many, loss = 20_000, 0.1
    lost = [uniform(3, direction, number) < loss for number in range(many + distance)]
    both = sum(lost[i] and lost[i + distance] for i in range(many))
    assert abs(both - many * loss**2) <= 5 * (many * loss**2 * (1 - loss**2)) ** 0.5


def test_directions_and_seeds_are_independent() -> None:
    many, loss = 20_000, 0.1
    draws = [
        [uniform(seed, direction, number) < loss for number in range(many)]
        for seed, direction in ((7, IN), (7, OUT), (8, IN))
    ]
    for other in draws[1:]:
        both = sum(a and b for a, b in zip(draws[0], other, strict=True))
        assert abs(both - many * loss**2) <= 5 * (many * loss**2) ** 0.5
