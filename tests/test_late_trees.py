"""Trees of switches that do not wait for ever: what goes up, what comes down, who is
left behind, and how they come back. (The rows: test_lagging_slots.py.)"""

import random
from collections import deque
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from golden import Datagram
from test_tree import INNER_JOB, PARENT, InnerTraffic
from traffic import ONCE, config_of, values_of

from switch import slots
from switch.config import Address, JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import (
    HEADER_BYTES,
    SEQUENCE_MASK,
    ElementType,
    Flag,
    Opcode,
    Reduction,
    Rule,
    emit,
    kind_of,
)
from switch.tree import Tree, jobs_of, switches_of

SUM = kind_of(Reduction.SUM, ElementType.INT32, ElementType.INT32)
PATIENCE = 1.0
LEAVES: Tree = ((0, 1), (2, 3))
DEEP: Tree = (((0, 1), 2), 3)


class Seen(NamedTuple):
    """A packet that came to a worker."""

    rank: int
    opcode: int
    sequence: int
    workers: int
    values: list[int]


class Net:
    """The switches of a job whose cables lose nothing but what a test says."""

    def __init__(self, tree: Tree, num_workers: int) -> None:
        self.workers = [("10.0.0.0", 1 + rank) for rank in range(num_workers)]
        paths = [path for path, _ in switches_of(tree)]
        names = {path: ("10.1.0.0", 1 + number) for number, path in enumerate(paths)}
        job = JobConfig(
            job=7, workers=tuple(self.workers), num_slots=1, slot_bytes=4,
            straggler_timeout=PATIENCE,
        )  # fmt: skip
        self.jobs = {names[at]: each for at, each in jobs_of(tree, job, names).items()}
        self.switches = {
            name: Pipeline(SwitchConfig(num_slots=1, slot_bytes=4, jobs=(each,)))
            for name, each in self.jobs.items()
        }
        self.names = list(names.values())
        """The root, then those below it in the tree's order."""
        self.cut: set[tuple[Address, Address]] = set()
        """Cables that lose everything."""
        self.sent: list[tuple[Address, Datagram]] = []
        """What switches sent each other, by its sender."""

    def switch_of(self, rank: int) -> Address:
        return next(
            name for name, job in self.jobs.items() if self.workers[rank] in job.workers
        )

    def contribute(self, rank: int, sequence: int, now: float) -> list[Seen]:
        value = 10**rank + sequence
        packet = emit(
            opcode=Opcode.CONTRIBUTE, kind=SUM, job=7, worker=rank, sequence=sequence,
            element_count=1, payload=value.to_bytes(4, "big"),
        )  # fmt: skip
        return self.carry(self.switch_of(rank), [(packet, self.workers[rank])], now)

    def wait(self, now: float) -> list[Seen]:
        """Nothing comes until then. The leaves look at their clocks first."""
        return [seen for name in self.names[::-1] for seen in self.carry(name, [], now)]

    def carry(self, to: Address, packets: list[Datagram], now: float) -> list[Seen]:
        """Packets to a switch, and what follows; what comes to workers."""
        found, left = [], deque([(to, packets)])
        while left:
            at, batch = left.popleft()
            for packet, receiver in self.switches[at].process(batch, now):
                if (at, receiver) in self.cut:
                    continue
                if receiver in self.switches:
                    self.sent.append((at, (packet, receiver)))
                    left.append((receiver, [(packet, at)]))
                else:
                    found.append(self.seen(packet, receiver))
        return found

    def seen(self, packet: bytes, receiver: Address) -> Seen:
        fields = (packet[0] & 15, packet[8:12], packet[4:6])
        opcode, sequence, workers = fields
        return Seen(
            self.workers.index(receiver), opcode, int.from_bytes(sequence, "big"),
            int.from_bytes(workers, "big"),
            values_of(packet) if opcode == Opcode.RESULT else [],
        )  # fmt: skip

    def total(self, name: str) -> int:
        return sum(switch.counters(7)[name] for switch in self.switches.values())


def results(sequence: int, workers: int, value: int, to: tuple[int, ...]) -> list[Seen]:
    return [Seen(rank, Opcode.RESULT, sequence, workers, [value]) for rank in to]


def test_a_switch_waits_twice_as_long_as_those_below_it() -> None:
    """So nobody who is in time is left out with others, late as they may be."""
    net = Net(DEEP, 4)
    waits = [net.jobs[name].straggler_timeout for name in net.names]
    assert waits == [4 * PATIENCE, 2 * PATIENCE, PATIENCE]
    for rank in (0, 3):  # 1 is missing at the leaf, and 2 at the switch above
        net.contribute(rank, 0, 0.0)
    assert net.wait(1.0) == net.wait(2.9) == []
    assert sorted(net.wait(3.0)) == results(0, 2, 1001, (0, 1, 2, 3))


def test_what_a_leaf_has_goes_up_in_time_and_says_how_many() -> None:
    net = Net(LEAVES, 4)
    for rank in (0, 2, 3):
        assert net.contribute(rank, 0, 0.0) == []
    assert net.wait(0.99) == []
    assert net.wait(1.0) == results(0, 3, 1101, (0, 1, 2, 3))
    assert net.total("results") == 3
    missed = [
        [each.missed for each in switch.lateness(7)] for switch in net.switches.values()
    ]
    assert missed == [[0, 0], [0, 1], [0, 0]]


def test_what_has_gone_up_stays_as_it_is() -> None:
    """The late one is not added, and asks again in place of what was lost."""
    net = Net(LEAVES, 4)
    root, leaf, _ = net.names
    net.cut = {(leaf, root)}
    net.contribute(0, 0, 0.0)
    assert net.wait(1.0) == []
    net.cut = set()
    assert net.contribute(1, 0, 1.1) == net.contribute(0, 0, 1.2) == []
    upward = [packet for sender, (packet, _) in net.sent if sender == leaf]
    assert len(upward) == 2
    assert upward[0] == upward[1]
    assert (upward[0][5], values_of(upward[0])) == (1, [1])
    assert net.switches[leaf].state.registers.slots[0].bitmap == 0b11
    assert net.wait(3.0) == []  # 1.1 s and the root's 2 s
    assert net.wait(3.1) == results(0, 1, 1, (0, 1))


def test_a_result_from_above_is_taken_by_who_still_waits() -> None:
    net = Net(LEAVES, 4)
    right = net.names[2]
    for rank in (0, 1):
        net.contribute(rank, 0, 0.0)
    net.contribute(2, 0, 1.5)
    everybody = (0, 1, 2, 3)
    assert sorted(net.carry(net.names[0], [], 2.0)) == results(0, 2, 11, everybody)
    assert net.contribute(3, 0, 2.1) == results(0, 2, 11, (3,))
    assert [each.missed for each in net.switches[right].lateness(7)] == [0, 1]
    assert net.wait(9.0) == []


def test_who_comes_last_is_noted_also_where_some_are_left_out_below() -> None:
    net = Net(LEAVES, 4)
    root = net.switches[net.names[0]]
    net.contribute(0, 0, 0.0)
    assert net.wait(1.0) == []  # it goes up without worker 1
    net.contribute(2, 0, 1.0)
    assert net.contribute(3, 0, 1.5) == results(0, 3, 1101, (0, 1, 2, 3))
    assert [(each.last, each.seconds) for each in root.lateness(7)] == [
        (0, 0.0),
        (1, 0.5),
    ]


def test_a_result_that_comes_twice_is_not_answered() -> None:
    """Who is stale is told where the others are, but for the switch above."""
    net = Net(LEAVES, 4)
    for rank in range(4):
        net.contribute(rank, 0, 0.0)
    root, leaf, _ = net.names
    (result,) = (each for at, each in net.sent if at == root and each[1] == leaf)
    before = len(net.sent)
    assert net.carry(leaf, [(result[0], root)], 1.0) == []
    assert len(net.sent) == before
    assert net.switches[leaf].counters(7)["stale"] == 1


def left_behind() -> Net:
    """Chunks 0, 1 and 2 have gone out without workers 2 and 3; the second leaf has
    heard of the first chunk, from worker 2, and nothing from above."""
    net = Net(LEAVES, 4)
    root, _, right = net.names
    net.cut = {(root, right), (right, root)}
    net.contribute(2, 0, 0.0)
    for sequence in range(3):
        now = 10.0 * sequence
        for rank in (0, 1):
            assert net.contribute(rank, sequence, now) == []
        value = 11 + 2 * sequence
        assert net.wait(now + 2) == results(sequence, 2, value, (0, 1))
    net.cut = set()
    return net


@pytest.mark.parametrize("rank", [2, 3])
def test_who_is_behind_a_leaf_that_is_left_behind_is_told(rank: int) -> None:
    net = left_behind()
    told = [Seen(to, Opcode.STATUS, 2, 2, []) for to in (2, 3)]
    assert net.contribute(rank, 0, 50.0) == told
    # and once more, for who has not got it
    assert net.contribute(5 - rank, 0, 51.0) == told
    before = sum(net.total(name) for name in ONCE)
    net.contribute(rank, 0, 52.0)
    # at the leaf, at the root, the status at the leaf
    assert sum(net.total(name) for name in ONCE) == before + 3


@pytest.mark.parametrize("sequence", [3, 4, 8])
def test_who_was_left_behind_comes_back_through_a_leaf_that_was(sequence: int) -> None:
    """However far the others are: the leaf has held nothing in between."""
    net = left_behind()
    for chunk in range(3, sequence):
        net.contribute(0, chunk, 10.0 * chunk)
        net.wait(10.0 * chunk + 3)
    for rank in (0, 1, 2, 2, 3, 2):  # a turn to ask where the slot stands, if it must
        net.contribute(rank, sequence, 100.0)
    slot = net.switches[net.names[0]].state.registers.slots[sequence % 2]
    assert (slot.sequence, slot.final) == (sequence, 4)
    again = results(sequence, 4, 1111 + 4 * sequence, (2,))
    assert net.contribute(2, sequence, 101.0) == again


def test_a_leaf_that_has_held_nothing_takes_whoever_comes_back() -> None:
    net = Net(LEAVES, 4)
    for chunk in range(6):
        net.contribute(0, chunk, 10.0 * chunk)
        net.wait(10.0 * chunk + 1)
        net.wait(10.0 * chunk + 3)
    for rank in (0, 1, 2):
        assert net.contribute(rank, 6, 60.0) == []
    assert len(net.contribute(3, 6, 60.0)) == 4
    assert net.total("ahead") == 0


def test_news_goes_down_more_than_one_switch() -> None:
    net = Net(DEEP, 4)
    root, middle, leaf = net.names
    net.cut = {(root, middle)}
    net.contribute(0, 0, 0.0)
    for sequence in range(3):
        now = 10.0 * sequence
        net.contribute(3, sequence, now)
        net.wait(now + 1)
        net.wait(now + 3)
        if sequence == 0:
            continue
        assert net.wait(now + 4) == results(sequence, 1, 1000 + sequence, (3,))
    net.cut = set()
    told = net.contribute(0, 0, 50.0)
    assert {(seen.rank, seen.opcode, seen.sequence) for seen in told} == {
        (rank, Opcode.STATUS, 2) for rank in (0, 1, 2)
    }
    assert [int(net.switches[at].state.registers.slots[0].closed) for at in
            (leaf, middle)] == [slots.PASSED, slots.PASSED]  # fmt: skip


def up(net: Net, workers: int) -> Datagram:
    """What the first leaf sends to the root."""
    packet = emit(
        opcode=Opcode.CONTRIBUTE, kind=SUM, job=7, worker=workers, sequence=0,
        element_count=1, payload=bytes(4),
    )  # fmt: skip
    return packet, net.names[1]


@pytest.mark.parametrize(
    ("workers", "counter"),
    [(0, "unknown_source"), (1, "accepted"), (2, "accepted"), (3, "unknown_source")],
)
def test_a_switch_says_how_many_it_has(workers: int, counter: str) -> None:
    net = Net(LEAVES, 4)
    root = net.names[0]
    net.carry(root, [up(net, workers)], 0.0)
    assert net.switches[root].counters(7)[counter] == 1


def status(net: Net, **fields: Any) -> Datagram:
    """Of the root, which holds chunk 2."""
    values = {"opcode": Opcode.STATUS, "job": 7, "worker": 1, "sequence": 2}
    return emit(**{**values, **fields}), net.names[0]


def test_a_status_that_is_news_to_nobody() -> None:
    net = Net(LEAVES, 4)
    leaf, bitmap = net.names[1], {"element_count": 8, "payload": bytes(8)}
    assert net.carry(leaf, [status(net, **bitmap)], 0.0) == []
    net.contribute(0, 2, 0.0)
    assert net.carry(leaf, [status(net, **bitmap)], 0.0) == []
    assert net.switches[leaf].counters(7)["stale"] == 2
    # from a child it is what it was
    packet, _ = status(net, worker=0, **bitmap)
    net.carry(leaf, [(packet, net.workers[0])], 0.0)
    assert net.switches[leaf].counters(7)["malformed"] == 1  # slots are 4 bytes wide


def test_a_status_of_any_length_is_passed_on_as_one() -> None:
    net = Net(LEAVES, 4)
    net.contribute(0, 0, 0.0)
    long = status(net, element_count=1000, payload=b"\1" * 1000)
    told = [Seen(to, Opcode.STATUS, 2, 1, []) for to in (0, 1)]
    assert net.carry(net.names[1], [long], 0.0) == told
    # whom the switch above has heard says nothing of who is below this one
    leaf = net.switches[net.names[1]]
    leaf.out.buffer[:] = 255  # what was sent before
    for packet, _ in leaf.process([long], 0.0):
        assert (len(packet), packet[HEADER_BYTES:]) == (24, bytes(8))


def test_who_is_ahead_of_what_has_gone_up_is_not_taken_to_be_in_it() -> None:
    net = Net(LEAVES, 4)
    leaf = net.switches[net.names[1]]
    net.contribute(0, 0, 0.0)
    net.wait(1.0)
    for sequence, bitmap in ((2, 0b01), (0, 0b11)):
        net.contribute(1, sequence, 1.5)
        assert leaf.counters(7)["replays"] == 1 + (sequence == 0)
        assert leaf.state.registers.slots[0].bitmap == bitmap


def test_who_is_in_what_has_gone_up_is_not_kept_waiting() -> None:
    """What went up may be lost: the status says that nobody else is waited for."""
    net = Net(LEAVES, 4)
    leaf = net.switches[net.names[1]]
    net.contribute(0, 0, 0.0)
    query = emit(opcode=Opcode.QUERY, job=7, worker=0, sequence=0)
    ((before, _),) = leaf.process([(query, net.workers[0])], 0.5)
    net.wait(1.0)
    ((after, _),) = leaf.process([(query, net.workers[0])], 1.5)
    assert (before[15], after[15]) == (0, Flag.FINAL)


class LateTraffic(InnerTraffic):
    """With parts of what a switch below stands for, and statuses of the parent."""

    def likely_packet(self) -> Datagram:
        if self.rng.random() < 0.1:
            return self.status(), PARENT
        packet, address = super().likely_packet()
        if address == INNER_JOB.workers[1] and self.rng.random() < 0.5:
            packet = packet[:4] + b"\0\1" + packet[6:]
        return packet, address

    def status(self) -> bytes:
        ahead = self.rng.choice([-2, 0, 0, 2, 2, 4])
        return emit(
            opcode=Opcode.STATUS, job=7, worker=self.rng.choice([0, 1, 4]),
            sequence=(self.sequence(INNER_JOB) + ahead) & SEQUENCE_MASK,
            element_count=8, payload=self.rng.randbytes(8),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_compiled_and_uncompiled_agree(uncompiled: ModuleType, seed: int) -> None:
    config = config_of(Rule.SAFE, replace(INNER_JOB, straggler_timeout=PATIENCE))
    switches = Pipeline(config), uncompiled.Pipeline(config)
    rng = random.Random(seed)
    for turn in range(100):
        if turn % 5 == 0:
            traffic = LateTraffic(rng)
            for switch in switches:
                switch.reset(INNER_JOB.job)
        batch = [traffic.packet() for _ in range(8)]
        copies, others = [switch.process(batch, 0.3 * turn) for switch in switches]
        assert others == copies
    counted = switches[0].counters()
    assert counted == switches[1].counters()
    assert sum(counted[name] for name in ONCE) == 800
    assert min(counted[name] for name in ("results", "replays", "statuses")) > 5
