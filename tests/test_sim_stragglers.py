"""Results without workers that are late, in virtual time: who is in them, when they go
out, and that it is the emulated switch's rule."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from traffic import contribution

from host.recovery import Recovery
from intswitch.sim.cables import Cable
from intswitch.sim.simulated import SimulationError
from intswitch.sim.simulation import Simulation
from switch.config import JobConfig, LinkFaults, SwitchConfig
from switch.pipeline import Pipeline, next_due
from switch.protocol import Rule
from switch.tree import Tree

FULL = 256  # int32 elements of a chunk
PATIENCE = 1e-3
CABLE = Cable(rate=1e9, delay=1e-6)
FRAME = 8 * (16 + 4 * FULL + 66) / CABLE.rate
HOP = FRAME + CABLE.delay
CALM = Recovery(1.0, 1.0, 1.0, np.inf, 0)
"""Hosts that repeat nothing while nothing is lost."""


def simulation(tree: Tree, **options: Any) -> Simulation:
    given = {"cable": CABLE, "recovery": CALM, "straggler_timeout": PATIENCE}
    return Simulation(tree=tree, **{**given, **options})


def test_a_late_worker_is_left_out_and_gets_the_result_all_the_same() -> None:
    late = 5 * PATIENCE
    found = simulation((0, 1, 2)).aggregate(FULL, starts=[0, 0, late])
    in_time = PATIENCE + 2 * HOP
    assert found.worker_seconds == pytest.approx([in_time, in_time, late + 2 * HOP])
    assert found.workers_in.tolist() == [2]
    assert found.missed.tolist() == [0, 0, 1]
    # what came before it began is lost, and replayed
    assert (found.partial, found.checked, found.counters["replays"]) == (3, 3, 1)


def test_who_comes_at_the_last_moment_is_in_it() -> None:
    """As in the emulated switch, which looks at its clock behind its packets."""
    patience, moment = 2.0**-10, 2.0**-30
    for late, workers in ((0.0, 2), (moment, 1)):
        exact = simulation(
            (0, 1), cable=Cable(rate=np.inf, delay=2.0**-20), straggler_timeout=patience
        )
        found = exact.aggregate(FULL, starts=[0, patience + late])
        assert found.workers_in.tolist() == [workers]


def test_with_everybody_in_time_nothing_is_different() -> None:
    """Nor does it count as time when a switch looks for stragglers and finds none."""
    found = simulation((0, 1)).aggregate(FULL, timeout=PATIENCE / 2)
    assert found.seconds == pytest.approx(2 * HOP)
    assert (found.workers_in.tolist(), found.partial, found.lacking) == ([2], 0, 0)


def test_a_patience_without_end_does_not_move_the_clock() -> None:
    """Else a float has no room, some time, for what a packet takes."""
    patient = simulation((0, 1), straggler_timeout=1e6)
    for number in (1, 2):
        patient.aggregate(FULL)
        assert patient.now < number * 1e-3


def test_all_wait_where_switches_do() -> None:
    late = 5 * PATIENCE
    waiting = simulation((0, 1), straggler_timeout=0.0)
    found = waiting.aggregate(3 * FULL, starts=[0, late])
    end = late + 2 * HOP + 2 * FRAME
    assert found.worker_seconds == pytest.approx([end, end])
    assert found.workers_in.tolist() == [2, 2, 2]
    assert (found.partial, found.missed.sum()) == (0, 0)


@pytest.mark.parametrize(
    ("tree", "starts", "seconds", "missed"),
    [
        # the leaf waits once, and the root for nobody
        (((0, 1), (2, 3)), [0, 9, 0, 0], [1, 9, 1, 1], [0, 1, 0, 0]),
        # a leaf has nothing: the root waits twice as long
        (((0, 1), (2, 3)), [0, 0, 9, 9], [2, 2, 9, 9], [0, 0, 1, 1]),
        # who comes to a leaf behind what it has sent up is not in that
        (((0, 1), (2, 3)), [0, 1.5, 9, 9], [3, 3, 9, 9], [0, 1, 1, 1]),
        # a leaf that waits has the root's result, and has nobody in it
        (((0, 1), (2, 3)), [0, 0, 1.5, 9], [2, 2, 2, 9], [0, 0, 1, 1]),
        # what a leaf has without one of two is not too late for the switch above it
        ((((0, 1), 2), 3), [0, 9, 9, 0], [3, 9, 9, 3], [0, 1, 1, 0]),
    ],
    ids=str,
)
def test_every_switch_of_a_tree_has_its_patience(
    tree: Tree, starts: list[float], seconds: list[float], missed: list[int]
) -> None:
    found = simulation(tree).aggregate(FULL, starts=np.array(starts) * PATIENCE)
    # all hops are within a tenth of the patience
    assert found.worker_seconds == pytest.approx(
        np.multiply(seconds, PATIENCE), rel=0.1
    )
    assert found.missed.tolist() == missed
    assert found.workers_in.tolist() == [4 - sum(missed)]


def test_the_times_of_a_tree() -> None:
    late = 9 * PATIENCE
    found = simulation(((0, 1), (2, 3))).aggregate(FULL, starts=[0, 0, late, late])
    in_time, rest = 2 * PATIENCE + 4 * HOP, late + 4 * HOP
    assert found.worker_seconds == pytest.approx([in_time, in_time, rest, rest])
    # the root goes on without the leaf, which never lacks anybody
    assert found.lacking == 1


def test_the_rule_is_that_of_the_emulated_switch() -> None:
    """The same arrivals at a pipeline, which looks for stragglers 16 times within the
    patience at most: worker 1 is late for chunk 0, and in time for those after it."""
    starts = [0, PATIENCE + 1.5 * FRAME, 2 * PATIENCE]
    found = simulation((0, 1, 2), num_slots=4).aggregate(4 * FULL, starts=starts)
    job = JobConfig(
        job=1, workers=tuple(("10.0.0.1", 1 + rank) for rank in range(3)),
        num_slots=4, slot_bytes=4 * FULL, straggler_timeout=PATIENCE,
    )  # fmt: skip
    switch = Pipeline(SwitchConfig(num_slots=4, slot_bytes=4 * FULL, jobs=(job,)))
    arrivals = sorted(
        (start + (1 + chunk) * FRAME + CABLE.delay, rank, chunk)
        for rank, start in enumerate(starts)
        for chunk in range(4)
    )
    results = []
    for now, rank, chunk in arrivals:
        while (look := next_due(switch.plane)) < now:
            results += switch.process([], look)
        packet = contribution(job, rank, chunk, [rank] * FULL)
        results += switch.process([packet], now)
    counts = {packet[11]: packet[5] for packet, _ in results}
    assert found.workers_in.tolist() == [counts[chunk] for chunk in range(4)]
    assert found.workers_in.tolist() == [1, 2, 2, 2]
    assert found.missed.tolist() == [each.missed for each in switch.lateness(1)]
    counted = switch.counters(1)
    assert found.counters == {name: counted[name] for name in found.counters}


FAULTS = {
    "loss": LinkFaults(loss=0.05),
    "everything": LinkFaults(
        loss=0.02, duplication=0.05, reordering=0.05, corruption=0.02
    ),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("tree", [(0, 1, 2), ((0, 1), (2, 3)), (((0, 1), 2), 3)])
def test_sums_are_of_those_who_are_in_them(tree: Tree, faults: LinkFaults) -> None:
    """`aggregate` compares every result, and the counters; or it raises."""
    lossy = Simulation(
        tree=tree, cable=Cable(up=faults, down=faults), num_slots=16,
        straggler_timeout=1e-5,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    reports = [
        lossy.aggregate(100 * FULL - 7, starts=2e-5 * rng.random(lossy.num_workers))
        for _ in range(3)
    ]
    workers_in = np.concatenate([report.workers_in for report in reports])
    most = lossy.num_workers
    assert np.unique(workers_in)[-2:].tolist() == [most - 1, most]


@pytest.mark.parametrize("tree", [(0, 1, 2), ((0, 1), (2,))], ids=str)
def test_who_is_left_behind_sits_out_until_the_next_aggregation(tree: Tree) -> None:
    leaving = simulation(tree, num_slots=2)
    found = leaving.aggregate(10 * FULL, starts=[0, 0, 100 * PATIENCE])
    assert found.left_behind == {2: 0}
    assert found.checked == 20
    assert found.workers_in.tolist() == [2] * 10
    assert (found.worker_seconds == np.inf).tolist() == [False, False, True]
    assert found.seconds < 30 * PATIENCE
    found = leaving.aggregate(10 * FULL)
    assert found.workers_in.tolist() == [3] * 10
    assert not found.left_behind


def test_a_result_of_an_earlier_aggregation_is_not_taken_for_a_later_ones() -> None:
    """A leaf whose worker was left behind asks for what it still holds."""
    loss = LinkFaults(loss=0.1)
    lossy = Simulation(
        tree=((0, 1), (2, 3)), cable=Cable(up=loss, down=loss), num_slots=16,
        straggler_timeout=8e-5, seed=64,
    )  # fmt: skip
    first, second, third = [lossy.aggregate(60 * FULL) for _ in range(3)]
    assert first.unfinished == 0 < len(second.left_behind)
    assert (third.unfinished, third.counters["results"]) == (2, 3 * 60 + 1)


def test_what_contradicts_itself() -> None:
    found = simulation((0, 1, 2)).aggregate(FULL, starts=[0, 0, 5 * PATIENCE])
    assert found.contradictions() == []
    for partial in (2, 4):
        told = replace(found, partial=partial).contradictions()
        assert told == [f"{partial} results are partial, expected 3"]
    one_more = found.counters | {"results": 2}
    two = replace(found, counters=one_more)
    told = ["results: 2, expected 1"]
    assert [each for each in two.contradictions() if "results:" in each] == told
    earlier = replace(two, unfinished=1)
    assert not [each for each in earlier.contradictions() if "results:" in each]


def test_where_everybody_is_left_behind_nobody_can_go_on() -> None:
    """One worker is ahead in one slot, another in another."""
    much = LinkFaults(loss=0.2)
    hasty = Simulation(
        tree=(0, 1, 2), cable=Cable(up=much, down=much), num_slots=2,
        straggler_timeout=2e-5, seed=3,
    )  # fmt: skip
    with pytest.raises(SimulationError, match="every worker has been left behind"):
        hasty.aggregate(40 * FULL)


def test_what_cannot_be_late_is_told() -> None:
    with pytest.raises(ValueError, match=r"straggler_timeout -1 s: must be 0 or more"):
        simulation((0, 1), straggler_timeout=-1.0)
    with pytest.raises(ValueError, match="take the rule safe"):
        simulation((0, 1), rule=Rule.SWITCHML)
    for starts in ([0.0], [0.0, -1.0], [0.0, np.inf]):
        with pytest.raises(ValueError, match="must be 2 times from 0 s on"):
            simulation((0, 1)).aggregate(FULL, starts=starts)
