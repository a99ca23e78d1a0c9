"""What strangers, other workers and the past send is dropped, counted, and harmless to
every job."""

import socket
import threading
from typing import Any

import numpy as np
import pytest
from real_switch import WAIT, RealSwitch, array_of, attempt, running, total

from host.agent import Network, join
from host.controller import JoinRefused
from switch.config import Address, JobConfig
from switch.protocol import ElementType, Opcode, Reduction, emit, kind_of

SUM = kind_of(Reduction.SUM, ElementType.INT32, ElementType.INT32)
FIXED = JobConfig(job=900, workers=(("127.0.0.1", 9),), num_slots=4, slot_bytes=64)


def lie(
    job: int, worker: int, sequence: int, opcode: Opcode = Opcode.CONTRIBUTE
) -> bytes:
    """A well-formed packet that would spoil a sum."""
    values = np.full(4, 1 << 20, ">i4").tobytes() if opcode != Opcode.QUERY else b""
    return emit(
        opcode=opcode, job=job, worker=worker, sequence=sequence, payload=values,
        kind=SUM if values else 0, element_count=len(values) // 4,
    )  # fmt: skip


ABSURD = (2**31, 2**32 - 1, 10**6, 77)


class Attacker:
    """Sends from one place, again and again, until told to stop; `sent` packets."""

    def __init__(
        self, sock: socket.socket, switch: Address, packets: list[bytes]
    ) -> None:
        self.sock, self.switch, self.packets = sock, switch, packets
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            for packet in self.packets:
                self.sock.sendto(packet, self.switch)
                self.sent += 1
            self._stop.wait(0.001)  # the good ones want to get through as well

    def __enter__(self) -> "Attacker":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def good(network: Network) -> None:
    for turn in range(20):
        own = array_of(network.rank, 3000 + turn, np.int32, 2)
        expected = total(2, 3000 + turn, np.int32)
        np.testing.assert_array_equal(network.sum(own), expected)


def attacked(switch: RealSwitch, sock: socket.socket, packets: list[bytes]) -> int:
    """A good job meanwhile; how many packets were sent against it."""
    with Attacker(sock, switch.address, packets) as attacker:
        attempt(switch, 2, good).check()
    return attacker.sent


def stranger() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_packets_from_unknown_addresses() -> None:
    """Of the job that runs, as its workers, and of a fixed one."""
    with running(jobs=(FIXED,)) as switch, stranger() as sock:
        packets = [lie(1, worker, seq) for worker in (0, 1) for seq in (0, 1, 512)]
        packets += [lie(1, 0, 3, opcode) for opcode in Opcode]
        packets += [lie(FIXED.job, 0, 0)]
        sent = attacked(switch, sock, packets)
        counted = switch.settle()
    assert counted["unknown_source"] + counted["unknown_job"] == sent
    assert counted["unknown_source"] > 0


def test_a_worker_of_another_job_harms_nobody() -> None:
    """With the id of another worker, for a foreign job, with absurd sequences, as a
    switch: from an address that the switch knows."""
    with (
        running() as switch,
        join(
            switch.endpoint,
            job="bad",
            rank=0,
            num_workers=1,
            num_slots=4,
            slot_bytes=64,
        ) as network,
    ):
        own, other = network._membership.job, network._membership.job + 1
        packets = [lie(own, 1, 0), lie(other, 0, 0), lie(other, 1, 5)]
        packets += [lie(own, 0, sequence) for sequence in ABSURD]
        packets += [lie(own, 0, 0, opcode) for opcode in (Opcode.RESULT, Opcode.STATUS)]
        sent = attacked(switch, network._sock, packets)
        turns = sent // len(packets)
        # and it can go on as if nothing had happened
        assert network.sum(np.arange(5, dtype=np.int32)).tolist() == [0, 1, 2, 3, 4]
        counted = network.counters()  # what it sent came after the others' packets
        assert counted["ahead"] == len(ABSURD) * turns
        assert counted["opcode"] == 2 * turns
        assert counted["unknown_source"] == turns
        assert counted["accepted"] == 1


def test_packets_of_a_job_that_is_over_are_dropped() -> None:
    """The job comes again under its name, and has another number."""
    recorded: list[tuple[int, Address]] = []

    def once(network: Network) -> None:
        good(network)
        recorded.append((network._membership.job, network._sock.getsockname()))

    with running() as switch:
        attempt(switch, 2, once, job="again").check()
        jobs = {job for job, _ in recorded}
        assert len(jobs) == 1
        (old,) = jobs
        with stranger() as sock:
            sock.bind(recorded[0][1])  # where a worker was
            packets = [lie(old, worker, seq) for worker in (0, 1) for seq in range(9)]
            sent = attacked(switch, sock, packets)
        attempt(switch, 2, once, job="again").check()
        assert recorded[-1][0] not in jobs
        counted = switch.settle()
    assert counted["unknown_job"] == sent > 0


def test_jobs_side_by_side_fixed_and_joined_and_one_that_dies() -> None:
    """Who dies takes his own job down, and its slots are free at once."""
    started = threading.Barrier(2)
    outcomes: list[Any] = []

    def dies(network: Network) -> None:
        network.barrier()
        started.wait(WAIT)
        if network.rank:
            raise KeyError("dies")
        network.sum(np.ones(5, np.int32))

    def first_steps(network: Network) -> None:
        good(network)
        if network.rank == 0:
            started.wait(WAIT)
        good(network)

    slots = FIXED.num_slots + 2 * 512
    with running(jobs=(FIXED,), num_slots=slots) as switch:
        started = threading.Barrier(3)
        bad = threading.Thread(
            target=lambda: outcomes.append(attempt(switch, 2, dies, job="bad"))
        )
        bad.start()
        attempt(switch, 2, first_steps, job="good").check()
        bad.join(WAIT)
        lost, dead = outcomes[0].values
        assert "worker 1 of job 'bad' died" in str(lost)
        assert isinstance(dead, KeyError)
        # both jobs' slots are there again, and no more
        with pytest.raises(JoinRefused, match="num_slots 2048: allowed are powers of"):
            join(switch.endpoint, job="big", rank=0, num_workers=1, num_slots=2048)
        attempt(switch, 1, lambda network: network.barrier(), num_slots=1024).check()
