"""Damaged packets and junk: the same outcome compiled and uncompiled, counted exactly
once, and the chunks that are under way come out right.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic import ONCE, SMALL_JOB, config_of, contribution, values_of

from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import Overflow, Rule

# Worker 1's contribution to chunk 0 is damaged while chunk 3 is under way. No single
# flipped bit makes the one a valid packet of the other.

JOB = JobConfig(
    job=7, workers=SMALL_JOB.workers, num_slots=4, slot_bytes=16, overflow=Overflow.WRAP
)
GOLDEN, GOLDEN_SOURCE = contribution(JOB, 1, 0, [1, -2, 3], exponent=5)


def check_damage(damaged: bytes, make: Callable[[SwitchConfig], Any]) -> list[Any]:
    """Send `damaged` amid honest packets; the outcome, to be compared."""
    switch = make(config_of(Rule.SAFE, JOB))
    switch.process([contribution(JOB, 0, 0, [10, 20, 30])])
    switch.process([contribution(JOB, 0, 3, [1000, 2000])])
    before = switch.counters()
    copies = switch.process([(damaged, GOLDEN_SOURCE)])
    after = switch.counters()
    gained = {name: after[name] - before[name] for name in after}
    assert sum(gained[name] for name in ONCE) == 1

    (result, first), (same, second) = switch.process(
        [contribution(JOB, 1, 3, [1, 2])],
    )
    assert values_of(result) == [1001, 2002]
    assert result == same
    assert (first, second) == JOB.workers
    return [copies, gained, switch.state.registers.values.tobytes()]


def single_bit_flips(packet: bytes) -> list[bytes]:
    flips = []
    for bit in range(8 * len(packet)):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(flipped))
    return flips


@pytest.mark.parametrize("at", range(len(GOLDEN)))
def test_every_single_bit_flip(at: int, uncompiled: ModuleType) -> None:
    for damaged in single_bit_flips(GOLDEN)[8 * at : 8 * at + 8]:
        outcome = check_damage(damaged, Pipeline)
        assert outcome == check_damage(damaged, uncompiled.Pipeline)


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_every_truncation_is_malformed(length: int, uncompiled: ModuleType) -> None:
    outcome = check_damage(GOLDEN[:length], Pipeline)
    assert outcome == check_damage(GOLDEN[:length], uncompiled.Pipeline)
    copies, gained, _ = outcome
    assert copies == []
    assert gained["malformed"] == 1


@settings(max_examples=100, deadline=None)
@given(
    head=st.sampled_from([b"", *(GOLDEN[:size] for size in (1, 2, 4, 8, 12))]),
    tail=st.binary(max_size=40),
)
def test_random_bytes(uncompiled: ModuleType, head: bytes, tail: bytes) -> None:
    # the head of a real packet gets random bytes further into the switch
    damaged = head + tail
    if damaged[8:12] == bytes([0, 0, 0, 3]):
        damaged = damaged[:8]  # chunk 3 is the one to be left alone
    outcome = check_damage(damaged, Pipeline)
    assert outcome == check_damage(damaged, uncompiled.Pipeline)


@pytest.mark.parametrize("size", [0, 1, 1500, 9000, 65507])
def test_datagrams_of_any_size(size: int) -> None:
    for byte in (0x00, 0x10, 0xFF):
        copies, gained, _ = check_damage(bytes([byte]) * size, Pipeline)
        assert (copies, gained["malformed"]) == ([], 1)
