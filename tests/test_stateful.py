"""Larger configurations than can be exhausted, in any order that hypothesis thinks of:
workers that run ahead of each other, packets that are lost, repeated and overtaken, and
timers that run out too early. The real switches and the real windows; no wrong sum,
nobody stuck, every packet counted once."""

from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray
from world import Worker, World

from host import window as win
from host.datagrams import row_of, take_in
from host.losses import expire
from host.packetizer import ArrayStream
from switch.config import Address
from switch.protocol import Reduction, Rule
from switch.tree import Tree

SLOT_BYTES = 16
PER_CHUNK = SLOT_BYTES // 4
SHAPES: list[tuple[int, int, int | None, Tree | None]] = [
    (5, 4, None, None),
    (8, 2, None, None),
    (3, 8, 5, None),
    (6, 2, None, ((0, 1, 2), (3, (4, 5)))),
    (5, 4, 3, ((0, 1), 2, (3, 4))),
]
"""Workers, slots, chunks outstanding at most, tree."""
MOST_FLYING = 200
STEPS_TO_THE_END = 20_000


class Air(World):
    """Packets stay in the air until somebody says what becomes of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.flying: list[tuple[Address, bytes, Address]] = []

    def carry(self, packet: bytes, receiver: Address, sender: Address) -> None:
        self.flying.append((receiver, packet, sender))


@cache
def vectors(workers: int, number: int) -> NDArray[np.int32]:
    """[workers, elements] of the aggregation of this number."""
    random = np.random.default_rng([workers, number])
    elements = int(random.integers(1, 12 * PER_CHUNK))
    return random.integers(-1000, 1000, (workers, elements)).astype(np.int32)


class Aggregations(RuleBasedStateMachine):
    slot_rule = Rule.SAFE

    @initialize(shape=st.sampled_from(SHAPES))
    def build(self, shape: tuple[int, int, int | None, Tree | None]) -> None:
        count, slots, limit, tree = shape
        self.air = Air(
            count,
            num_slots=slots,
            slot_bytes=SLOT_BYTES,
            limit=limit,
            tree=tree,
            rule=self.slot_rule if tree is None else Rule.SAFE,
        )
        self.late: list[tuple[Address, bytes, Address]] = []
        self.outs = [np.empty(0, np.int32)] * count
        self.numbers = [-1] * count
        self.taken = dict.fromkeys(self.air.of_name, 0)
        for worker in self.air.workers:
            self.begin(worker)

    def begin(self, worker: Worker) -> None:
        """This worker's next aggregation."""
        self.numbers[worker.rank] += 1
        given = vectors(len(self.outs), self.numbers[worker.rank])[worker.rank]
        out = self.outs[worker.rank] = np.zeros_like(given)
        worker.stream = ArrayStream(given, out, Reduction.SUM, SLOT_BYTES)
        win.begin(worker.state, worker.stream.num_chunks, worker.stream.kind, PER_CHUNK)

    def chosen(self, number: int) -> Worker:
        return self.air.workers[number % len(self.air.workers)]

    @rule(number=st.integers(0, 7))
    def send(self, number: int) -> None:
        self.air.send(self.chosen(number))

    @precondition(lambda self: len(self.air.flying) < MOST_FLYING)
    @rule(number=st.integers(0, 7))
    def run_out_of_time(self, number: int) -> None:
        """A timer: of a packet that was lost, or is just slow."""
        worker = self.chosen(number)
        timer = float(worker.state.window["next_timeout"][0])
        if timer < float("inf"):
            self.air.now = max(self.air.now, timer)
            expire(worker.state, self.air.now)
            self.air.send(worker)

    @rule(number=st.integers(0, 7))
    def go_on(self, number: int) -> None:
        """With the next aggregation, whatever the others do."""
        worker = self.chosen(number)
        if self.air.is_done(worker) and self.numbers[worker.rank] < 5:
            self.begin(worker)

    @precondition(lambda self: self.air.flying)
    @rule(places=st.lists(st.integers(0, MOST_FLYING), min_size=10, max_size=80))
    def arrive(self, places: list[int]) -> None:
        """In any order."""
        for place in places:
            if self.air.flying:
                self.land(*self.air.flying.pop(place % len(self.air.flying)))

    @precondition(lambda self: self.air.flying)
    @rule(place=st.integers(0, MOST_FLYING))
    def lose(self, place: int) -> None:
        self.air.flying.pop(place % len(self.air.flying))

    @precondition(lambda self: self.air.flying)
    @rule(places=st.lists(st.integers(0, MOST_FLYING), min_size=1, max_size=8))
    def repeat(self, places: list[int]) -> None:
        """The copies take their time."""
        for place in places:
            self.late.append(self.air.flying[place % len(self.air.flying)])

    @precondition(lambda self: self.late)
    @rule(places=st.lists(st.integers(0, MOST_FLYING), min_size=1, max_size=8))
    def come_late(self, places: list[int]) -> None:
        for place in places:
            if self.late:
                self.land(*self.late.pop(place % len(self.late)))

    def land(self, receiver: Address, packet: bytes, sender: Address) -> None:
        self.air.now += 1e-6
        if receiver in self.air.of_name:
            self.taken[receiver] += 1
            answers = self.air.of_name[receiver].process([(packet, sender)])
            for copy, to in answers:
                self.air.carry(copy, to, receiver)
            return
        worker = self.air.of_address[receiver]
        arrived = take_in(worker.state, worker.stream, row_of(packet), self.air.now)
        right = vectors(len(self.outs), self.numbers[worker.rank]).sum(0)
        for chunk in arrived.chunks:
            part = slice(chunk * PER_CHUNK, (chunk + 1) * PER_CHUNK)
            np.testing.assert_array_equal(self.outs[worker.rank][part], right[part])
        self.air.send(worker)

    def teardown(self) -> None:
        """From here on nothing is lost: all come to the end of what one has begun."""
        if not hasattr(self, "air"):
            return
        last, steps = max(self.numbers), 0
        self.air.flying += self.late
        while not all(map(self.is_over, self.air.workers)):
            steps += 1
            assert steps < STEPS_TO_THE_END, "stuck"
            for worker in self.air.workers:
                if self.air.is_done(worker) and self.numbers[worker.rank] < last:
                    self.begin(worker)
            if self.air.flying:
                self.land(*self.air.flying.pop(0))
            else:
                self.wait()
        self.check_counters(last)

    def is_over(self, worker: Worker) -> bool:
        over = self.numbers[worker.rank] == max(self.numbers)
        return over and self.air.is_done(worker)

    def wait(self) -> None:
        """Until somebody has something to send."""
        for worker in self.air.workers:
            self.air.send(worker)
        if not self.air.flying:
            sleeper = min(
                self.air.workers, key=lambda each: each.state.window["next_timeout"][0]
            )
            self.run_out_of_time(sleeper.rank)

    def check_counters(self, last: int) -> None:
        sizes = [vectors(len(self.outs), each).shape[1] for each in range(last + 1)]
        chunks = sum(-(-size // PER_CHUNK) for size in sizes)
        for name, pipeline in self.air.of_name.items():
            counters = pipeline.counters()
            assert counters["results"] == chunks
            # every packet that came, once
            assert (
                sum(counters.values()) - counters["results"] - counters["copies"]
                == (self.taken[name])
            )


TestAggregations = Aggregations.TestCase
TestAggregations.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None, derandomize=True
)


class Switchml(Aggregations):
    slot_rule = Rule.SWITCHML


def test_switchml_s_wrong_sum_is_found() -> None:
    chosen = settings(
        max_examples=300,
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        run_state_machine_as_test(Switchml, settings=chosen)
