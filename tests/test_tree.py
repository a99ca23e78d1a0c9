"""Trees of switches: exact sums over every link's losses, more than 64 workers, what is
counted where, and what is no tree."""

import random
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from golden import STRANGER, Datagram
from model import COUNTERS, Model
from traffic import ONCE, Traffic, config_of
from world import Link, World

from host.codes import CodeStream
from host.packetizer import ArrayStream
from switch.config import JobConfig, SwitchConfig, TreePlace
from switch.parser import reduced_kind
from switch.pipeline import Pipeline
from switch.protocol import (
    ElementType,
    Opcode,
    Overflow,
    Reduction,
    Rule,
    emit,
)
from switch.tree import Tree, jobs_of, ranks_of, switches_of, worker_fields

TREES: dict[str, Tree] = {
    "two leaves": ((0, 1), (2, 3)),
    "uneven": ((2,), 0, (1, 3, 4)),
    "deep": (((0, 1), 4), (2, (3,))),
    "chain": (((0, 1),),),
}
LINKS = {
    "perfect": Link(),
    "lossy": Link(loss=0.05),
    "everything": Link(loss=0.1, repeat=0.3, jitter=50e-3),
}


def sums(world: World, size: int, **options: object) -> None:
    """One sum over the world, which must be right on every worker."""
    random = np.random.default_rng(size)
    arrays = random.integers(-1000, 1000, (world.num_workers, size)).astype(np.int32)
    outs = np.zeros_like(arrays)
    streams = [
        ArrayStream(array, out, Reduction.SUM, world.slot_bytes)
        for array, out in zip(arrays, outs, strict=True)
    ]
    world.aggregate(streams, **options)
    np.testing.assert_array_equal(outs, np.tile(arrays.sum(0), (len(outs), 1)))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", TREES)
def test_sums_are_exact(name: str, link: str) -> None:
    tree = TREES[name]
    world = World(len(ranks_of(tree)), num_slots=4, link=LINKS[link], tree=tree)
    for size in (1, 16, 400, 17):
        sums(world, size)
    chunks = 1 + 1 + 25 + 2
    for at, pipeline in world.switches.items():
        children = len(pipeline.config.jobs[0].workers)
        counters = pipeline.counters()
        assert counters["results"] == chunks
        # below the root, also every result
        assert counters["accepted"] == (children + bool(at)) * chunks
        if link == "perfect":
            assert counters["copies"] == (children + bool(at)) * chunks


def test_more_workers_than_a_switch_has_bits() -> None:
    tree = tuple(tuple(range(first, first + 30)) for first in (0, 30, 60))
    world = World(90, num_slots=4, link=Link(loss=0.01), tree=tree)
    sums(world, 160)


def test_a_lost_contribution_upward_is_repaired() -> None:
    """Every worker's own bit is set at its switch, and yet it must send again."""
    world = World(4, num_slots=2, tree=TREES["two leaves"])
    leaf, carry, lost = ("127.0.0.1", 4001), world.carry, []

    def lossy(
        packet: bytes, receiver: tuple[str, int], sender: tuple[str, int]
    ) -> None:
        if sender == leaf and receiver == ("127.0.0.1", 4000) and len(lost) < 8:
            lost.append(packet)
        else:
            carry(packet, receiver, sender)

    world.carry = lossy  # type: ignore[method-assign]
    sums(world, 16)
    assert len(lost) == 8
    assert len({packet[:15] for packet in lost}) == 1, "the same but for its flag"


def test_a_straggler_elsewhere_is_waited_for() -> None:
    world = World(4, num_slots=8, tree=TREES["two leaves"])
    sums(world, 2000, starts=[0.0, 0.0, 0.0, 10.0])
    assert max(worker.finished_at for worker in world.workers) < 11.0
    for worker in world.workers[:3]:
        assert worker.queries <= 70


def test_codes_are_looked_up_at_the_leaves() -> None:
    table = (*range(-7, 8), 31)
    world = World(4, code4=table, tree=TREES["two leaves"], link=LINKS["lossy"])
    random = np.random.default_rng(3)
    codes = random.integers(0, 16, (4, 300)).astype(np.uint8)
    outs = np.zeros((4, 300), np.int8)
    world.aggregate(
        [
            CodeStream(each, out, ElementType.CODE4, world.slot_bytes)
            for each, out in zip(codes, outs, strict=True)
        ]
    )
    right = np.take(np.array(table), codes).sum(0)
    np.testing.assert_array_equal(outs, np.tile(right, (4, 1)))


def test_codes_have_room_for_the_whole_job() -> None:
    """A leaf of two that allowed int8 could be flooded by the sums of four."""
    job = JobConfig(job=7, workers=workers(4), code8=(2**29 - 1,) * 256)
    leaf = jobs_of(((0, 1), (2, 3)), job, switches(3))[0,]
    Pipeline(SwitchConfig(jobs=(leaf,)))
    for entries in ((2**29,) * 256, (-(2**29),) * 256):
        with pytest.raises(ValueError, match="4 workers times the largest entry"):
            Pipeline(SwitchConfig(jobs=(replace(leaf, code8=entries),)))


@pytest.mark.parametrize("overflow", Overflow)
def test_overflow_of_a_sum_of_sums(overflow: Overflow) -> None:
    world = World(4, overflow=overflow, tree=TREES["two leaves"])
    outs = np.zeros((4, 3), np.int8)
    full = np.full(3, 50, np.int8)
    streams = [ArrayStream(full, out, Reduction.SUM, 64) for out in outs]
    world.aggregate(streams)
    expected = 127 if overflow == Overflow.SATURATE else 200 - 256
    assert set(outs.ravel().tolist()) == {expected}
    flags = {stream.flags & 1 for stream in streams}
    assert flags == {int(overflow == Overflow.DETECT)}


PARENT = ("10.1.0.0", 1)
INNER_JOB = JobConfig(
    job=7,
    workers=(("10.0.0.0", 1), ("10.0.0.1", 1)),
    num_slots=1,
    slot_bytes=12,
    code4=(*range(-7, 7), 31, -31),
    tree=TreePlace(num_workers=4, ranks=(1, (0, 2)), parent=PARENT),
)


class InnerTraffic(Traffic):
    """Packets of a worker, of a switch below and of the parent, mostly honest."""

    jobs = (INNER_JOB,)
    addresses = [*INNER_JOB.workers, PARENT, STRANGER]  # noqa: RUF012

    def likely_packet(self) -> Datagram:
        if self.rng.random() < 0.3:
            return self.result(), PARENT
        packet, address = super().likely_packet()
        field = worker_fields(INNER_JOB)[INNER_JOB.workers.index(address)]
        if self.rng.random() < 0.97:
            packet = packet[:4] + field.to_bytes(2, "big") + packet[6:]
        return packet, address

    def sequence(self, job: JobConfig) -> int:
        """The front moves on when the parent has likely answered, and else seldom."""
        before = self.front[job.job]
        found = super().sequence(job)
        if self.rng.random() < 0.7:
            self.front[job.job] = before
        return found

    def result(self) -> bytes:
        kind, count, recipient = self.theme[INNER_JOB.job]
        count *= self.rng.random() < 0.8
        return emit(
            opcode=Opcode.RESULT,
            kind=reduced_kind(kind) if self.rng.random() < 0.95 else kind,
            job=INNER_JOB.job,
            worker=self.rng.choice([4, 4, 4, 4, 3, 0]),
            recipient=recipient,
            sequence=self.sequence(INNER_JOB),
            element_count=count,
            exponent=self.rng.choice([-128, 0, 127]),
            flags=self.rng.choice([0, 0, 1, 2, 4, 255]),
            payload=self.payload(ElementType(kind & 7), count),
        )


@pytest.mark.parametrize("seed", range(10))
def test_compiled_uncompiled_and_model_agree(uncompiled: ModuleType, seed: int) -> None:
    config = config_of(Rule.SAFE, INNER_JOB)
    switches = Pipeline(config), uncompiled.Pipeline(config), Model(config)
    rng = random.Random(seed)
    for _ in range(20):
        for switch in switches:
            switch.reset(INNER_JOB.job)
        traffic = InnerTraffic(rng)
        batch = [traffic.packet() for _ in range(40)]
        copies, *others = [switch.process(batch) for switch in switches]
        assert others == [copies, copies]
    for switch in switches:
        counters = switch.counters()
        assert sum(counters[name] for name in ONCE) == 800
        assert counters["results"] > 1
        assert [counters[name] for name in COUNTERS] == [
            switches[0].counters()[name] for name in COUNTERS
        ]


def workers(count: int) -> tuple[tuple[str, int], ...]:
    return tuple(("10.0.0.1", 5000 + rank) for rank in range(count))


def switches(count: int) -> dict[tuple[int, ...], tuple[str, int]]:
    """A root and its children."""
    names = {(place,): ("10.1.0.1", 4001 + place) for place in range(count - 1)}
    return {(): ("10.1.0.1", 4000), **names}


def test_the_jobs_of_a_tree() -> None:
    job = JobConfig(job=7, workers=workers(3), num_slots=2)
    jobs = jobs_of((1, (0, 2)), job, {(): ("r", 1), (1,): ("l", 2)})
    assert jobs[()] == replace(
        job,
        workers=(job.workers[1], ("l", 2)),
        tree=TreePlace(num_workers=3, ranks=(1, (0, 2))),
    )
    assert jobs[1,] == replace(
        job,
        workers=(job.workers[0], job.workers[2]),
        tree=TreePlace(num_workers=3, ranks=(0, 2), parent=("r", 1)),
    )
    assert [at for at, _ in switches_of(TREES["deep"])] == [
        (),
        (0,),
        (0, 0),
        (1,),
        (1, 1),
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_workers": 0}, "num_workers 0: allowed are 1 to 65535"),
        ({"num_workers": 65536}, "num_workers 65536"),
        ({"ranks": (0,)}, "ranks for 1 children, but it has 2"),
        ({"parent": ("10.0.0.1", 5000)}, "is a child and the parent"),
        ({"ranks": (0, (1, 4))}, "rank 4: allowed are 0 to 3"),
        ({"ranks": (0, (-1, 1))}, "rank -1: allowed"),
        ({"ranks": (1, (1, 2))}, "rank 1 is behind several children"),
        ({"ranks": (1, ())}, "child 1 leads to no worker"),
        (
            {"ranks": (0, (3, 1)), "parent": None},
            "no child of the root leads to rank 2",
        ),
    ],
)
def test_what_is_no_tree_is_refused(change: dict[str, object], text: str) -> None:
    place = TreePlace(num_workers=4, ranks=(0, (1, 2)), parent=("10.1.0.1", 4000))
    job = JobConfig(job=7, workers=workers(2), tree=place)
    Pipeline(SwitchConfig(jobs=(job,)))
    bad = replace(job, tree=replace(place, **change))
    with pytest.raises(ValueError, match=f"job 7: .*{text}"):
        Pipeline(SwitchConfig(jobs=(bad,)))


def test_trees_take_the_safe_rule() -> None:
    place = TreePlace(num_workers=2, ranks=(0, 1))
    job = JobConfig(job=7, workers=workers(2), tree=place)
    with pytest.raises(ValueError, match=r"job 7: trees .*, take the rule safe"):
        Pipeline(SwitchConfig(rule=Rule.SWITCHML, jobs=(job,)))
