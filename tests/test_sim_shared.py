"""Several jobs on one tree of switches in virtual time: what they do to each other."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from host.packetizer import Results
from intswitch.sim import payloads
from intswitch.sim.cables import Cable
from intswitch.sim.contents import CONTENTS
from intswitch.sim.loop import loop_of
from intswitch.sim.report import JobReport
from intswitch.sim.shared import SharedSimulation, SimulatedJob
from intswitch.sim.simulated import SimulationError
from intswitch.sim.simulation import Simulation
from switch.aggregate import COUNTERS
from switch.compiled import COMPILED
from switch.config import LinkFaults
from switch.protocol import ElementType
from switch.tree import Tree

FULL = 256  # int32 elements of a chunk
CHUNKS = 400
FRAME = 8 * (16 + 4 * FULL + 66)  # bits
SLOW = Cable(rate=10e9)
TRUNK = {(0,): SLOW, (1,): SLOW}
LOSSY = LinkFaults(loss=0.05)
RED = SimulatedJob(workers=(0, 2), num_elements=CHUNKS * FULL, num_slots=32)
BLUE = replace(RED, workers=(1, 3))


def shared(
    jobs: list[SimulatedJob], tree: Tree = ((0, 1), (2, 3)), **options: Any
) -> SharedSimulation:
    return SharedSimulation(tree=tree, jobs=jobs, **{"cables": TRUNK, **options})


def alone(job: SimulatedJob, **options: Any) -> Any:
    """The same links without the other job's hosts."""
    given = {"cables": TRUNK, "num_slots": job.num_slots, **options}
    return Simulation(tree=((0,), (1,)), **given).aggregate(job.num_elements)


def same(one: JobReport, other: JobReport) -> bool:
    """In all that is of a job, not of links."""
    names = JobReport.__dataclass_fields__
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_one_job_is_what_it_is_alone() -> None:
    lossy = {"cable": Cable(up=LOSSY, down=LOSSY), "cables": {}, "seed": 3}
    one = Simulation(tree=((0, 1), (2, 3)), num_slots=32, **lossy)  # type: ignore[arg-type]
    job = replace(RED, workers=(0, 1, 2, 3))
    assert same(
        shared([job], **lossy).aggregate().jobs[0], one.aggregate(job.num_elements)
    )


@pytest.mark.skipif(not COMPILED, reason="kernels are plain Python")
def test_the_loop_is_compiled_once() -> None:
    Simulation(tree=(0, 1)).aggregate(FULL)
    shared(MIXED, UNEVEN, cables={}).aggregate()
    assert len(loop_of(CONTENTS).by_python.signatures) == 1


def test_jobs_below_different_switches_do_not_touch_each_other() -> None:
    """Not by a bit, whatever the other one loses."""
    red, blue = replace(RED, workers=(0, 1)), replace(RED, workers=(2, 3))
    lossy = Cable(up=LOSSY, down=LOSSY)
    cables = {(0,): SLOW, (1,): lossy, (1, 0): lossy}
    found = shared([red, blue], cables=cables).aggregate().jobs
    only = Simulation(tree=((0, 1),), cables={(0,): SLOW}, num_slots=32)
    assert same(found[0], only.aggregate(red.num_elements))
    assert found[0].retransmissions == 0 < found[1].retransmissions


def test_two_jobs_share_a_trunk() -> None:
    found = shared([RED, BLUE]).aggregate().jobs
    once = CHUNKS * FRAME / SLOW.rate
    assert alone(RED).seconds == pytest.approx(once, rel=0.02)
    for job in found:
        assert job.seconds == pytest.approx(2 * once, rel=0.02)


def test_a_link_is_shared_as_slots_are() -> None:
    """First come, first served: who has three times the packets there gets three times
    as much, until it is done."""
    size = 4 * CHUNKS * FULL
    greedy = replace(RED, num_elements=size, num_slots=128, window=96)
    found = shared([greedy, replace(BLUE, num_elements=size)]).aggregate().jobs
    once = 4 * CHUNKS * FRAME / SLOW.rate
    assert found[0].seconds == pytest.approx(4 / 3 * once, rel=0.02)
    assert found[1].seconds == pytest.approx(2 * once, rel=0.02)


def test_a_job_that_begins_when_the_other_is_done_has_the_trunk_to_itself() -> None:
    single = alone(RED)
    late = replace(BLUE, start=1e-3)
    assert single.seconds < late.start
    red, blue = shared([RED, late]).aggregate().jobs
    assert same(red, single)
    assert blue.seconds == pytest.approx(single.seconds, rel=1e-9)
    assert blue.slots_held == pytest.approx(single.slots_held, rel=1e-9)
    # amid the other's time: the rest of the one is shared, and then that of the other
    red, blue = shared([RED, replace(BLUE, start=single.seconds / 2)]).aggregate().jobs
    assert red.seconds == pytest.approx(1.5 * single.seconds, rel=0.02)
    assert blue.seconds == pytest.approx(1.5 * single.seconds, rel=0.02)


UNEVEN: Tree = ((0, 1), (2, 3, (4, 5)), 6)
MIXED = [
    SimulatedJob(workers=(2, 0, 5), num_elements=100 * FULL - 7, num_slots=64),
    SimulatedJob(
        workers=(3, 1), num_elements=20_000, element_type=ElementType.INT8,
        num_slots=16, slot_bytes=333, start=1e-5,
    ),
    SimulatedJob(
        workers=(6, 4), num_elements=20_000, element_type=ElementType.INT16,
        num_slots=32, window=9,
    ),
]  # fmt: skip
FAULTS = {
    "loss": LOSSY,
    "everything": LinkFaults(
        loss=0.02, duplication=0.02, reordering=0.02, corruption=0.02
    ),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_sums_of_jobs_that_differ_are_exact_whatever_links_do(
    faults: LinkFaults,
) -> None:
    """`aggregate` compares every result, and the counters of each; or it raises."""
    cable = Cable(up=faults, down=faults)
    simulation = shared(MIXED, UNEVEN, cable=cable, cables={})
    for _ in range(2):
        found = simulation.aggregate()
        chunks = [100, 61, 40]
        assert [job.num_chunks for job in found.jobs] == chunks
        assert [job.checked for job in found.jobs] == [3 * 100, 2 * 61, 2 * 40]
        assert sum(job.retransmissions for job in found.jobs) > 0
        switches = [len(job.switch_counters) for job in found.jobs]
        assert switches == [4, 3, 3]


def of(counts: Any, name: str) -> list[int]:
    """By switch."""
    return [int(each) for each in counts[:, COUNTERS[name]].sum(axis=1)]


def test_packets_of_one_job_count_for_no_other() -> None:
    """A host of one job says that it is of the other, with the same rank."""
    simulation = shared([RED, BLUE])
    simulation.world.workers.windows["job"][1] = 1
    with pytest.raises(SimulationError, match="worker 0 of job 1 has 0 of 400 results"):
        simulation.aggregate(timeout=0.01)
    unknown, red, blue = np.moveaxis(simulation.world.switches.counters, 1, 0)
    assert of(red, "accepted") == [2 * CHUNKS] * 3
    assert of(red, "results") == [CHUNKS] * 3
    assert of(red, "unknown_source")[1] == simulation.world.workers.sent[1] > 0
    assert of(blue, "accepted") == [32, 0, 32]  # a window of worker 3's
    assert not unknown.any()


def test_a_switch_knows_no_job_that_does_not_pass_through_it() -> None:
    simulation = shared([replace(RED, workers=(0, 1)), replace(RED, workers=(2, 3))])
    simulation.world.workers.windows["job"][0] = 2
    with pytest.raises(SimulationError, match="worker 0 of job 0 has 0 of 400 results"):
        simulation.aggregate(timeout=0.01)
    unknown = simulation.world.switches.counters[:, 0]
    sent = int(simulation.world.workers.sent[0])
    assert of(unknown, "unknown_job") == [0, sent, 0]


@pytest.mark.parametrize(
    ("jobs", "match"),
    [
        ([RED], "worker 1 is in 0 jobs: must be in one"),
        ([RED, replace(BLUE, workers=(1, 2, 3))], "worker 2 is in 2 jobs"),
        ([RED, replace(BLUE, workers=(1, 3, 4))], "worker 4 of a job is not in the"),
        ([RED, replace(BLUE, workers=())], r"jobs\.1\.workers: there must be one"),
        ([RED, replace(BLUE, start=-1.0)], r"jobs\.1\.start -1 s: must be 0 or more"),
        ([RED, replace(BLUE, num_elements=0)], r"jobs\.1\.num_elements 0: must be 1"),
        ([], "jobs: there must be one"),
    ],
)
def test_jobs_that_cannot_be_are_told(jobs: list[SimulatedJob], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        shared(jobs)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [({}, 0), ({"num_workers": 1}, 1), ({"element_count": 8}, 1), ({"buffer": 7}, 1)],
)
def test_a_result_that_is_not_the_exact_sum_of_all_is_wrong(
    changed: dict[str, int], wrong: int
) -> None:
    int32 = ElementType.INT32
    vector = payloads.vector(10, 16, int32, int32, 2)
    nobody = np.zeros((0, 2), np.bool_)
    plan = payloads.new_plan(0, [vector], np.zeros(2, np.int64), 4, nobody)
    payloads.expect(plan, 0, 0, 0)
    right = Results(plan.expected[0, 0].copy(), *np.array([[0], [16], [2], [0], [0]]))
    result = right._replace(**{name: np.array([n]) for name, n in changed.items()})
    if "buffer" in changed:
        result = right._replace(buffer=right.buffer ^ np.uint8(changed["buffer"]))
    payloads.drain(plan, 0, np.zeros(1, np.int64), result)
    assert payloads.checks_of(plan, 0).tolist() == (wrong, 1)
