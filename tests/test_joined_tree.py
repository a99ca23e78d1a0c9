"""Workers that join at the leaves of a tree: the job at every switch, and over real
sockets what becomes of it."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from fake_dataplane import FakeDataplane
from lossy import losing
from real_switch import NEVER, WAIT, RealSwitch, array_of, running, total
from test_stragglers import lose_what_has_come

from host.agent import AggregationError, LeftBehind, Network, join
from host.controller import JoinRefused, ping
from switch.admission import JoinRequest, Refusal
from switch.branch import Branch
from switch.config import Address, JobConfig, SwitchConfig, TreePlace
from switch.control import Control
from switch.events import Joined
from switch.joined_tree import jobs_at
from switch.tree import objections_to_tree

ROOT, MIDDLE, LEFT, RIGHT = (("10.1.0.1", port) for port in range(4))


def requests(*vias: tuple[Address, ...]) -> list[JoinRequest]:
    return [
        JoinRequest(
            job="tree", rank=rank, num_workers=len(vias), via=via, data=address_of(rank)
        )
        for rank, via in enumerate(vias)
    ]


def address_of(rank: int) -> Address:
    return f"10.0.0.{rank + 1}", 5000


def jobs(*vias: tuple[Address, ...]) -> dict[Address, JobConfig]:
    workers = tuple(map(address_of, range(len(vias))))
    return jobs_at(ROOT, JobConfig(job=7, workers=workers), requests(*vias))


def test_without_switches_between_it_is_no_tree() -> None:
    found = jobs((), ())
    assert list(found) == [ROOT]
    assert found[ROOT].tree is None


def test_every_switch_has_its_place() -> None:
    found = jobs((RIGHT,), (LEFT, MIDDLE), (), (LEFT, MIDDLE), (MIDDLE,))
    assert set(found) == {ROOT, MIDDLE, LEFT, RIGHT}
    places = {
        at: (job.workers, job.tree.ranks) for at, job in found.items() if job.tree
    }
    assert places == {
        ROOT: ((RIGHT, MIDDLE, address_of(2)), ((0,), (1, 3, 4), 2)),
        RIGHT: ((address_of(0),), (0,)),
        MIDDLE: ((LEFT, address_of(4)), ((1, 3), 4)),
        LEFT: ((address_of(1), address_of(3)), (1, 3)),
    }
    parents = {at: job.tree.parent for at, job in found.items() if job.tree}
    assert parents == {ROOT: None, MIDDLE: ROOT, LEFT: MIDDLE, RIGHT: ROOT}
    for job in found.values():
        assert list(objections_to_tree(job)) == []


def test_more_workers_than_a_switch_has_bits() -> None:
    leaves: list[Address] = [("10.2.0.1", port) for port in range(20)]
    found = jobs(*((leaves[rank % 20],) for rank in range(1000)))
    assert [len(found[leaf].workers) for leaf in leaves] == [50] * 20
    assert found[ROOT].num_workers == 1000
    with pytest.raises(Refusal, match="65 workers and switches are at the switch "):
        jobs(*((leaves[0],) for rank in range(65)))


def test_all_at_a_switch_below_are_told_the_same_group() -> None:
    """None, since one of them cannot receive from it, whoever is told first."""
    place = TreePlace(num_workers=2, ranks=(0, 1), parent=ROOT)
    job = JobConfig(job=7, workers=(address_of(0), address_of(1)), tree=place)
    for first in (0, 1):
        branch = Branch(Control(SwitchConfig(), FakeDataplane(), multicast=True))
        asked = [
            JoinRequest(
                job="tree", rank=rank, num_workers=2, data=address_of(rank),
                multicast=rank == 0,
            )
            for rank in range(2)
        ]  # fmt: skip
        members = [branch.open(request) for request in asked]
        for rank in (first, 1 - first):
            joined = Joined(9 + rank, job, ROOT, window=4, places=(job,))
            answer = branch.on_joined(members[rank], "tree", joined)
            assert answer.job.group is None


@contextmanager
def tree(
    parents: str = "RR", loss: float = 0.0, **root: Any
) -> Iterator[list[RealSwitch]]:
    """The root, and switches below it: R is the root, a digit the one of that place."""
    with ExitStack() as stack:
        switches = [stack.enter_context(running(faults=losing(loss, loss), **root))]
        for seed, parent in enumerate(parents):
            above = switches[0 if parent == "R" else int(parent)]
            faults = losing(loss, loss, seed)
            below = running(parent=above.endpoint, faults=faults)
            switches.append(stack.enter_context(below))
        yield switches


def together(
    places: list[RealSwitch], work: Any, job: str = "tree", **options: Any
) -> list[Any]:
    """What `work(network)` returns or raises on each worker, by the switch it is at."""
    found: list[Any] = [None] * len(places)

    def act(rank: int) -> None:
        try:
            with join(
                places[rank].endpoint, job=job, rank=rank, num_workers=len(places),
                timeout=WAIT, **options,
            ) as network:  # fmt: skip
                network.timeout = WAIT
                found[rank] = work(network)
        except Exception as error:
            found[rank] = error

    threads = [
        threading.Thread(target=act, args=(rank,)) for rank in range(len(places))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    return found


def check_empty(*switches: RealSwitch) -> None:
    """All slots are free, as soon as the switches have heard that everyone is gone."""
    deadline = time.monotonic() + WAIT
    for switch in switches:
        while switch.path.pipeline._jobs:
            assert time.monotonic() < deadline, switch.path.pipeline._jobs
            ping(switch.endpoint)


def exact(network: Network) -> int:
    """Sums of all sorts; how many chunks the job has had."""
    workers = network.num_workers
    for turn in range(2):
        own = array_of(network.rank, 5000 + turn, np.int32, workers)
        expected = total(workers, 5000 + turn, np.int32)
        np.testing.assert_array_equal(network.sum(own), expected)
    assert network.gather(bytes([network.rank])) == [bytes([r]) for r in range(workers)]
    last = workers - 1
    assert network.broadcast(np.full(3, network.rank), last).tolist() == [last] * 3
    network.barrier()
    return network.chunks


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_sums_through_two_leaves(loss: float) -> None:
    with tree(loss=loss) as (root, left, right):
        found = together([left, right, left, right], exact)
        chunks = found[0]
        assert found == [chunks] * 4
        counted = [switch.settle() for switch in (root, left, right)]
    assert [each["results"] for each in counted] == [chunks] * 3
    assert [each["accepted"] for each in counted] == [
        2 * chunks,
        3 * chunks,
        3 * chunks,
    ]
    assert not any(each[name] for each in counted for name in NEVER), counted


def test_three_levels_and_a_worker_at_the_root_several_jobs_in_a_row() -> None:
    with tree("R1") as (root, middle, leaf):
        for turn in range(3):
            found = together([leaf, root, middle, leaf], exact, f"job {turn}")
            assert found == [found[0]] * 4
            assert isinstance(found[0], int)
        check_empty(root, middle, leaf)


def test_a_death_behind_a_leaf_is_told_everywhere_and_frees_all_slots() -> None:
    def work(network: Network) -> None:
        network.barrier()
        if network.rank == 1:
            raise KeyError("dies")
        network.sum(np.ones(5, np.int32))

    with tree() as (root, left, right):
        found = together([left, right, left], work)
        assert isinstance(found[1], KeyError)
        for rank in (0, 2):
            assert isinstance(found[rank], AggregationError)
            assert "worker 1 of job 'tree' died" in str(found[rank])
        # and the next job of that name finds its slots
        assert together([left, right], exact)[0] > 0
        check_empty(root, left, right)


def test_a_leaf_refuses_what_it_has_no_slots_for() -> None:
    fixed = JobConfig(job=9, workers=(("127.0.0.1", 1),), num_slots=16384 - 256)
    with (
        running() as root,
        running(parent=root.endpoint, jobs=(fixed,)) as leaf,
    ):
        (found,) = together([leaf], exact)
        assert isinstance(found, JoinRefused)
        assert str(found) == "num_slots 512: 256 of the switch's 16384 slots are free"
        # the number that the root allots next may be taken here
        together([root], exact, num_slots=1)
        for _ in range(7):
            together([root], exact, num_slots=1)
        (found,) = together([leaf], exact, num_slots=128)
        assert str(found) == "job id 9 of the switch above is in use here"
        (chunks,) = together([leaf], exact, num_slots=128)
        assert chunks > 0


def test_a_switch_above_that_is_not_there_is_named() -> None:
    with running(parent="127.0.0.1:1") as leaf:
        (found,) = together([leaf], exact)
    assert isinstance(found, JoinRefused)
    assert str(found) == "the switch above, at 127.0.0.1:1, does not answer"


def test_a_leaf_that_sleeps_is_left_behind_reloads_and_rejoins() -> None:
    """Worker 2, alone at its switch, misses more than a window of chunks."""
    behind, back, place = threading.Event(), threading.Event(), [0]
    everybody, size = threading.Barrier(3), 40

    def work(network: Network) -> list[Any]:
        own = np.full(size, 1 + network.rank, np.int32)
        assert network.sum(own).tolist() == [6] * size
        everybody.wait(WAIT)
        found = []
        if network.rank == 2:
            assert behind.wait(WAIT)
            lose_what_has_come(network)
            with pytest.raises(LeftBehind, match="have gone on without it"):
                network.sum(own)
            network.rejoin_at(place[0])
            back.set()
        else:
            for _ in range(3):
                found.append(network.sum_of_some(own))
            place[0] = network.chunks
            behind.set()
            assert back.wait(WAIT)
        assert network.sum(own).tolist() == [6] * size
        return found

    options = {"num_slots": 2, "slot_bytes": 80, "straggler_timeout": 0.25}
    with tree() as (_, left, right):
        found = together([left, left, right], work, **options)
    for sums, counts in found[0] + found[1]:
        assert sums.tolist() == [3] * size
        assert counts.tolist() == [2] * size
    assert found[2] == []
