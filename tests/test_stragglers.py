"""Results that go out without workers that are late: what the slot does, what hosts
divide by, who is told that it is left behind, and who is late, how late."""

import select
import threading
from typing import Any

import numpy as np
import pytest
from golden import Datagram
from real_switch import WAIT, RealSwitch, attempt, running
from traffic import ONCE, contribution, values_of

from host.agent import AggregationError, LeftBehind, Network, join
from host.controller import JoinRefused
from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline, next_due
from switch.protocol import Flag, Opcode, Rule, emit
from switch.stragglers import Lateness

WORKERS = (("10.0.0.0", 1), ("10.0.0.1", 1), ("10.0.0.2", 1))
JOB = JobConfig(
    job=7, workers=WORKERS, num_slots=2, slot_bytes=8, straggler_timeout=1.0
)
CONFIG = SwitchConfig(num_slots=4, slot_bytes=8, jobs=(JOB,))


def part(worker: int, sequence: int = 0) -> Datagram:
    return contribution(JOB, worker, sequence, [10**worker, sequence])


def query(worker: int, sequence: int) -> Datagram:
    packet = emit(opcode=Opcode.QUERY, job=7, worker=worker, sequence=sequence)
    return packet, WORKERS[worker]


def seen(copies: list[Datagram]) -> list[tuple[int, list[int], int, int]]:
    """Workers in it, values, flags, and to whom: of results."""
    return [
        (int.from_bytes(packet[4:6], "big"), values_of(packet), packet[15],
         WORKERS.index(address))
        for packet, address in copies
    ]  # fmt: skip


@pytest.fixture
def switch() -> Pipeline:
    return Pipeline(CONFIG)


def released(switch: Pipeline) -> None:
    """Chunk 0 has gone out without worker 2."""
    assert switch.process([part(0)], 1.0) == []
    assert switch.process([part(1)], 1.9) == []
    copies = switch.process([], 2.0)
    assert seen(copies) == [(2, [11, 0], 0, worker) for worker in range(3)]


def test_a_result_goes_out_in_time_without_who_is_late(switch: Pipeline) -> None:
    assert next_due(switch.plane) == np.inf
    assert switch.process([part(0)], 1.0) == []
    assert next_due(switch.plane) == 2.0
    assert switch.process([part(1)], 1.9) == []
    assert switch.process([], 1.999) == []
    assert len(switch.process([], 2.0)) == 3
    assert next_due(switch.plane) == np.inf
    assert switch.process([], 9.0) == []  # once
    assert switch.counters(7)["results"] == 1


def test_with_everybody_in_time_nothing_is_different(switch: Pipeline) -> None:
    copies = switch.process([part(0), part(1), part(2)], 0.0)
    assert seen(copies) == [(3, [111, 0], 0, worker) for worker in range(3)]
    assert switch.process([], 5.0) == []
    assert [late.missed for late in switch.lateness(7)] == [0, 0, 0]


def test_what_has_gone_out_is_final(switch: Pipeline) -> None:
    """A late contribution sets its bit, is not added, and gets the stored result."""
    released(switch)
    replay = (2, [11, 0], Flag.REPEATED, 2)
    assert seen(switch.process([part(2)], 2.1)) == [replay]
    assert switch.state.registers.slots[0].bitmap == 0b111
    assert seen(switch.process([part(2)], 2.2)) == [replay]
    counted = switch.counters(7)
    assert (counted["accepted"], counted["replays"], counted["results"]) == (2, 2, 1)


def test_who_is_in_it_is_not_kept_waiting(switch: Pipeline) -> None:
    """Its result may be lost: the status says that there is one."""
    switch.process([part(0)], 1.0)
    ((status, _),) = switch.process([query(0, 0)], 1.5)
    assert status[15] == 0
    switch.process([], 2.0)
    ((status, _),) = switch.process([query(0, 0)], 2.5)
    assert status[15] == Flag.FINAL
    assert (status[5], status[-1]) == (1, 0b001)


def test_who_is_left_behind_is_told(switch: Pipeline) -> None:
    released(switch)
    for sequence in (2, 4):  # the other version; then this one is taken over
        switch.process([part(0, sequence), part(1, sequence)], 3.0 + sequence)
        assert len(switch.process([], 4.0 + sequence)) == 3
    ((status, to),) = switch.process([part(2, 0)], 20.0)
    assert to == WORKERS[2]
    assert status[0] & 15 == Opcode.STATUS
    assert int.from_bytes(status[8:12], "big") == 4
    counted = switch.counters(7)
    assert counted["stale"] == 1
    assert sum(counted[name] for name in ONCE) == 2 * 3 + 1
    late = switch.lateness(7)
    assert [each.missed for each in late] == [0, 0, 3]


def test_lateness_is_measured_in_every_job() -> None:
    job = JobConfig(job=7, workers=WORKERS, num_slots=2, slot_bytes=8)
    switch = Pipeline(SwitchConfig(num_slots=2, slot_bytes=8, jobs=(job,)))
    for sequence in range(4):
        for worker, delay in ((0, 0.0), (1, 0.25), (2, 0.75)):
            switch.process([part(worker, sequence)], sequence + delay)
    assert switch.lateness(7) == [
        Lateness((0,), 0, 0.0, 0),
        Lateness((1,), 0, 0.0, 0),
        Lateness((2,), 4, 2.0, 0),
    ]
    assert switch.process([part(0, 4)], 100.0) == []
    assert switch.process([], 1000.0) == []  # everybody is waited for


def test_a_job_that_is_gone_leaves_nothing_behind(switch: Pipeline) -> None:
    """No result that is due, and no lateness for who has its row next."""
    released(switch)
    switch.process([part(0, 1)], 3.0)
    switch.remove(7)
    assert switch.process([], 9.0) == []
    assert next_due(switch.plane) == np.inf
    switch.install(JOB)
    assert switch.lateness(7) == [Lateness((w,), 0, 0.0, 0) for w in range(3)]


def test_more_results_than_go_out_at_once_go_out_all_the_same() -> None:
    slots = 1 << 14
    job = JobConfig(
        job=7, workers=WORKERS, num_slots=slots, slot_bytes=8, straggler_timeout=1.0
    )
    switch = Pipeline(SwitchConfig(num_slots=slots, slot_bytes=8, jobs=(job,)))
    assert switch.process([part(0, n) for n in range(slots)], 0.0) == []
    assert next_due(switch.plane) == 1.0
    sequences: list[bytes] = []
    while next_due(switch.plane) <= 2.0:
        copies = switch.process([], 2.0)
        sequences += [packet[8:12] for packet, to in copies if to == WORKERS[1]]
    assert len(sequences) == len(set(sequences)) == slots


def test_where_all_are_waited_for() -> None:
    config = JobConfig(job=7, workers=WORKERS, straggler_timeout=1.0)
    with pytest.raises(ValueError, match="take the rule safe"):
        Pipeline(SwitchConfig(rule=Rule.SWITCHML, jobs=(config,)))


# over real sockets


def lose_what_has_come(network: Network) -> None:
    """The results that a worker has slept through are in its sockets."""
    for sock in (network._sock, network._group):
        while sock is not None and select.select([sock], [], [], 0)[0]:
            sock.recv(1 << 16)


def test_a_worker_that_sleeps_is_left_behind_reloads_and_rejoins() -> None:
    """Worker 1 misses more than a window of chunks; the sums of the others say how many
    are in them. Then it goes on where they are, with what they have."""
    behind, back = threading.Event(), threading.Event()
    size, where = 40, [0]

    def work(network: Network) -> list[Any]:
        found = []
        ones = np.full(size, 1 + network.rank, np.int32)
        assert network.sum(ones).tolist() == [3] * size
        if network.rank == 0:
            for _ in range(6):
                found.append(network.sum_of_some(ones))
            where[0] = network.chunks
            behind.set()
            assert back.wait(WAIT)
        else:
            assert behind.wait(WAIT)
            lose_what_has_come(network)
            with pytest.raises(LeftBehind, match="have gone on without it"):
                network.sum(ones)
            with pytest.raises(AggregationError, match="did not end"):
                network.sum(ones)
            network.rejoin_at(where[0])
            back.set()
        assert network.sum(ones).tolist() == [3] * size
        return found

    with running() as switch:
        outcome = attempt(
            switch, 2, work, num_slots=2, slot_bytes=80, straggler_timeout=0.2
        )
        outcome.check()
    for sums, counts in outcome.values[0]:
        assert (sums / counts).tolist() == [1.0] * size
        assert counts.tolist() == [1] * size
    assert outcome.statistics[0].partial_results == 12


def test_a_straggler_is_named() -> None:
    """By the switch, for who asks; the second worker always waits for the first."""
    turns = [threading.Semaphore(0), threading.Semaphore(0)]
    late: list[Any] = []

    def work(network: Network) -> None:
        for _ in range(5):
            if network.rank == 1:
                assert turns[1].acquire(timeout=WAIT)
            else:
                turns[1].release()
            network.barrier()
        if network.rank == 0:
            late.extend(network.lateness())
        network.barrier()

    with running() as switch:
        attempt(switch, 2, work).check()
    assert sum(each.last for each in late) == 5
    assert [each.ranks for each in late] == [(0,), (1,)]
    assert all(each.seconds >= 0 and each.missed == 0 for each in late)


def refusal(switch: RealSwitch, **options: Any) -> str:
    with pytest.raises(JoinRefused) as caught:
        join(switch.endpoint, job="late", rank=0, num_workers=1, **options)
    return str(caught.value)


def test_what_a_switch_does_not_wait_for_must_be_said_alike() -> None:
    with running() as switch:
        text = refusal(switch, straggler_timeout=-1.0)
        assert text == "straggler_timeout -1.0 s: allowed are 0 to 604800 s"
    with running(rule=Rule.SWITCHML) as switch:
        text = refusal(switch, straggler_timeout=1.0)
        assert text == "straggler_timeout 1 s: the switch's rule must be safe"
