"""Exhaustive exploration of the slot rules: every state that a small job can get into
when any packet that was ever sent can arrive at any time, any number of times, or
never. That covers loss, duplication, reordering and delay.

The workers are those of docs/protocol.md, who send all that they may, and not our own
hosts: how these do, `intswitch explore` explores (test_explore.py), by another search.

A state is what the switch holds, which chunks each worker has the result of (that
fixes what it has sent), and which results it lacks that are on their way to it.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from golden import Datagram
from traffic import config_of, contribution, values_of

from switch.config import JobConfig
from switch.pipeline import Pipeline
from switch.protocol import HEADER_BYTES, SEQUENCE_MASK, Flag, Opcode, Rule

Chunks = frozenset[int]


class State(NamedTuple):
    slots: bytes
    values: bytes
    received: tuple[Chunks, ...]
    """By worker: the chunks whose results it has taken."""
    coming: tuple[Chunks, ...]
    """By worker: the chunks whose results are on their way to it, and new to it."""


class WrongSum(Exception):
    """The switch has sent a result that is not the sum of everybody's chunk."""


class World:
    """A job of `chunks` chunks, the first of which has the sequence `base`."""

    def __init__(
        self, rule: Rule, num_workers: int, num_slots: int, chunks: int, base: int = 0
    ) -> None:
        workers = tuple((f"10.0.0.{rank}", 1) for rank in range(num_workers))
        self.job = JobConfig(job=7, workers=workers, num_slots=num_slots, slot_bytes=4)
        self.switch = Pipeline(config_of(rule, self.job))
        self.base, self.chunks = base, chunks
        registers = self.switch.state.registers
        if base:
            # as if the job had come this far: every version holds its last chunk
            for index, slot in enumerate(registers.slots):
                slot.sequence = base - 2 * num_slots + index
                slot.received = slot.final = num_workers
                slot.bitmap = (1 << num_workers) - 1
        nothing = (frozenset[int](),) * num_workers
        self.start = State(
            registers.slots.tobytes(), registers.values.tobytes(), nothing, nothing
        )

    def value(self, worker: int, chunk: int) -> int:
        """One bit for each worker and chunk: a sum tells what is in it."""
        return 1 << (worker * self.chunks + chunk)

    def right_sum(self, chunk: int) -> int:
        return sum(self.value(worker, chunk) for worker in range(self.num_workers))

    @property
    def num_workers(self) -> int:
        return len(self.job.workers)

    def contributions(self, state: State) -> Iterator[Datagram]:
        """All that the workers can have sent: the window's first S, and what follows
        the results that are in.
        """
        for worker, received in enumerate(state.received):
            for chunk in range(self.chunks):
                before = chunk - self.job.num_slots
                if before < 0 or before in received:
                    sequence = (self.base + chunk) & SEQUENCE_MASK
                    value = self.value(worker, chunk)
                    yield contribution(self.job, worker, sequence, [value])

    def successors(self, state: State) -> Iterator[State]:
        """What can happen next: a result arrives or is lost, a contribution arrives."""
        for worker, results in enumerate(state.coming):
            for chunk in results:
                coming = changed(state.coming, worker, results - {chunk})
                yield state._replace(coming=coming)
                received = state.received[worker] | {chunk}
                yield state._replace(
                    coming=coming, received=changed(state.received, worker, received)
                )
        for packet in self.contributions(state):
            yield self.deliver(state, packet)

    def deliver(self, state: State, packet: Datagram) -> State:
        registers = self.switch.state.registers
        registers.slots.view(np.uint8)[:] = np.frombuffer(state.slots, np.uint8)
        registers.values.reshape(-1)[:] = np.frombuffer(state.values, np.uint8)
        coming = state.coming
        for result, address in self.answers(packet):
            worker, chunk = self.job.workers.index(address), self.check(result)
            if chunk not in state.received[worker]:
                coming = changed(coming, worker, coming[worker] | {chunk})
        return State(
            registers.slots.tobytes(),
            registers.values.tobytes(),
            state.received,
            coming,
        )

    def answers(self, packet: Datagram) -> list[Datagram]:
        return self.switch.process([packet])

    def check(self, result: bytes) -> int:
        """The chunk of a result, whose sum must be right."""
        assert result[0] & 0xF == Opcode.RESULT
        sequence = int.from_bytes(result[8:12], "big")
        chunk = (sequence - self.base) & SEQUENCE_MASK
        if values_of(result) != [self.right_sum(chunk)]:
            raise WrongSum(f"chunk {chunk}: {result[HEADER_BYTES:].hex()}")
        return chunk

    def is_done(self, state: State) -> bool:
        return all(len(received) == self.chunks for received in state.received)


def changed(
    by_worker: tuple[Chunks, ...], worker: int, chunks: Chunks
) -> tuple[Chunks, ...]:
    return (*by_worker[:worker], chunks, *by_worker[worker + 1 :])


def explore(world: World) -> dict[State, set[State]]:
    """Every state that can be reached, with the states that lead to it."""
    before: dict[State, set[State]] = {world.start: set()}
    waiting = deque([world.start])
    while waiting:
        state = waiting.popleft()
        for following in world.successors(state):
            if following not in before:
                before[following] = set()
                waiting.append(following)
            before[following].add(state)
    return before


def can_end(world: World, before: dict[State, set[State]]) -> set[State]:
    """The states from which every worker can still get every result."""
    found = {state for state in before if world.is_done(state)}
    waiting = deque(found)
    while waiting:
        for state in before[waiting.popleft()] - found:
            found.add(state)
            waiting.append(state)
    return found


# workers, slots, chunks: enough chunks for versions to be taken over
# (of three workers with two slots, which takes long, `intswitch explore --large`)
SIZES = [(1, 1, 6), (2, 1, 10), (3, 1, 10), (1, 2, 10), (2, 2, 10)]


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize(("num_workers", "num_slots", "chunks"), SIZES)
def test_safe_never_sends_a_wrong_sum_and_never_gets_stuck(
    num_workers: int, num_slots: int, chunks: int, wraps: bool
) -> None:
    base = 2**32 - 2 * num_slots if wraps else 0
    world = World(Rule.SAFE, num_workers, num_slots, chunks, base)
    before = explore(world)
    assert any(world.is_done(state) for state in before)
    assert can_end(world, before) == set(before)


@pytest.mark.parametrize(("num_workers", "num_slots", "chunks"), SIZES[1:3])
def test_switchml_sends_a_wrong_sum(
    num_workers: int, num_slots: int, chunks: int
) -> None:
    with pytest.raises(WrongSum):
        explore(World(Rule.SWITCHML, num_workers, num_slots, chunks))


class WithoutReplays(World):
    def answers(self, packet: Datagram) -> list[Datagram]:
        results = super().answers(packet)
        return [pair for pair in results if not pair[0][15] & Flag.REPEATED]


def test_without_replays_it_gets_stuck() -> None:
    world = WithoutReplays(Rule.SAFE, 2, 1, 4)
    before = explore(world)
    assert can_end(world, before) != set(before)
