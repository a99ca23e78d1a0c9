"""The switch behind real sockets: fixed jobs, strangers, signals, clean ends."""

import errno
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from lossy import losing
from real_switch import ONCE, WAIT, RealSwitch, attempt, needs_ipv6, running

from host.agent import Network
from host.controller import counters as ask_counters
from host.controller import reset
from switch import messages, server
from switch.config import Address, JobConfig
from switch.protocol import (
    HEADER_BYTES,
    ElementType,
    Flag,
    Opcode,
    Overflow,
    Reduction,
    emit,
    kind_of,
)

KIND = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
JOB = 7


@dataclass
class FixedJob:
    """A running switch with one fixed job, and its workers' plain UDP sockets."""

    switch: RealSwitch
    workers: list[socket.socket]
    stranger: socket.socket

    def contribute(
        self, worker: int, sequence: int, values: bytes, **fields: Any
    ) -> bytes:
        packet = emit(
            opcode=Opcode.CONTRIBUTE, job=JOB, worker=worker, sequence=sequence,
            kind=KIND, element_count=len(values), payload=values, **fields,
        )  # fmt: skip
        self.workers[worker].send(packet)
        return packet

    def result(self, worker: int) -> bytes:
        """The next packet that reaches a worker."""
        return self.workers[worker].recv(2048)

    def is_quiet(self) -> bool:
        """Whether no worker has a packet waiting, now that all were processed."""
        self.switch.settle()
        return not select.select(self.workers, [], [], 0)[0]


def result_packet(sequence: int, values: bytes, flags: int = 0) -> bytes:
    return emit(
        opcode=Opcode.RESULT, job=JOB, worker=2, sequence=sequence, kind=KIND,
        element_count=len(values), flags=flags, payload=values,
    )  # fmt: skip


@contextmanager
def fixed_job(address: str = "127.0.0.1", **fields: Any) -> Iterator[FixedJob]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            for _ in range(3)
        ]
        for sock in sockets:
            sock.bind((address, 0))
            sock.settimeout(WAIT)
        workers = sockets[:2]
        addresses: tuple[Address, ...] = tuple(w.getsockname()[:2] for w in workers)
        job = JobConfig(
            job=JOB, workers=addresses, num_slots=2, slot_bytes=64,
            overflow=Overflow.WRAP,
        )  # fmt: skip
        switch = stack.enter_context(running(address=address, jobs=(job,), **fields))
        for sock in sockets:
            sock.connect(switch.address)
        yield FixedJob(switch, workers, sockets[2])


def add_up(job: FixedJob) -> None:
    """Six chunks by hand: every version of the two slots, and some a second time."""
    for sequence in range(6):
        job.contribute(0, sequence, bytes([1, 2, sequence]))
        job.contribute(1, sequence, bytes([10, 20, 30]))
        expected = result_packet(sequence, bytes([11, 22, 30 + sequence]))
        assert job.result(0) == expected
        assert job.result(1) == expected


@pytest.mark.parametrize(
    "address", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]
)
def test_a_fixed_job_twice_with_a_reset_between(address: str) -> None:
    with fixed_job(address) as job:
        add_up(job)
        job.contribute(0, 0, b"\1")  # without a reset, sequence 0 is long gone
        reset(job.switch.endpoint, JOB)
        add_up(job)
        counters = ask_counters(job.switch.endpoint, JOB)
        assert counters["accepted"] == 24
        assert counters["results"] == 12
        assert counters["stale"] == 1
        assert ask_counters(job.switch.endpoint)["copies"] == 24


def test_repeats_are_replayed_and_queries_answered() -> None:
    with fixed_job() as job:
        job.contribute(0, 0, b"\1")
        job.contribute(0, 0, b"\1", flags=Flag.REPEATED)  # incomplete: no answer
        query = emit(opcode=Opcode.QUERY, job=JOB, worker=0, sequence=0)
        job.workers[0].send(query)
        assert job.result(0) == emit(
            opcode=Opcode.STATUS, job=JOB, worker=1, sequence=0,
            element_count=8, payload=(1).to_bytes(8, "big"),
        )  # fmt: skip
        job.contribute(1, 0, b"\2")
        assert job.result(0) == job.result(1) == result_packet(0, b"\3")
        job.contribute(0, 0, b"\1", flags=Flag.REPEATED)
        assert job.result(0) == result_packet(0, b"\3", Flag.REPEATED)
        assert job.is_quiet()
        counters = job.switch.settle()
        found = [counters[name] for name in ("duplicate", "statuses", "replays")]
        assert found == [1, 1, 1]


def test_strangers_change_no_sum() -> None:
    with fixed_job() as job:
        packet = job.contribute(0, 0, b"\1\1")
        forged = emit(
            opcode=Opcode.CONTRIBUTE, job=JOB, worker=1, sequence=0, kind=KIND,
            element_count=2, payload=b"\x64\x64",
        )  # fmt: skip
        job.stranger.send(forged)  # worker 1, from another address
        job.stranger.send(packet)
        job.stranger.send(emit(opcode=Opcode.QUERY, job=JOB, worker=0, sequence=0))
        job.workers[0].send(forged)  # one worker in the name of the other
        job.stranger.send(emit(opcode=Opcode.QUERY, job=8, worker=0, sequence=0))
        job.workers[0].send(result_packet(0, b"\1\1"))  # addressed as worker 2
        time.sleep(0.05)  # the strangers come first
        job.contribute(1, 0, b"\2\2")
        assert job.result(0) == job.result(1) == result_packet(0, b"\3\3")
        assert job.is_quiet()
        job.stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            job.stranger.recv(2048)
        counters = job.switch.settle()
        assert counters["unknown_source"] == 5
        assert counters["unknown_job"] == 1
        assert counters["accepted"] == 2


def test_rubbish_is_counted_and_harms_nobody() -> None:
    random = np.random.default_rng(0)
    rubbish = [b"", b"\0", bytes(15), bytes(16), b"\xff" * 65_000]
    rubbish += [random.bytes(int(random.integers(0, 200))) for _ in range(200)]
    with fixed_job() as job:
        for i, packet in enumerate(rubbish):
            (job.stranger if i % 2 else job.workers[0]).send(packet)
        add_up(job)
        assert job.is_quiet()
        counters = job.switch.settle()
        assert sum(counters[name] for name in ONCE) == len(rubbish) + 12
        assert counters["malformed"] >= 5
        assert counters["accepted"] == 12


def test_trains_from_plain_sockets_arrive_whole() -> None:
    """More packets at once than one turn of the loop reads."""
    with fixed_job() as job:
        query = emit(opcode=Opcode.QUERY, job=JOB, worker=0, sequence=0)
        for _ in range(100):
            job.workers[0].send(query)
        assert [len(job.result(0)) for _ in range(100)] == [HEADER_BYTES + 8] * 100


def test_the_faults_of_the_switch_are_counted_apart() -> None:
    with fixed_job(faults=losing(inward=1.0)) as job:
        job.contribute(0, 0, b"\1")
        job.contribute(1, 0, b"\1")
        assert job.is_quiet()
        counters = job.switch.settle()
        assert counters["lost_in"] == 2
        assert not any(counters[name] for name in ONCE)


def test_what_the_kernel_refuses_to_send_is_lost_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running() as switch:
        send = messages.send_messages
        refusals = [errno.ENETUNREACH, errno.ENOBUFS]

        def fail_twice(descriptor: int, first: int, count: int, room: Any) -> int:
            return -refusals.pop() if refusals else send(descriptor, first, count, room)

        monkeypatch.setattr(messages, "send_messages", fail_twice)
        # the compiled loop is refused everything, so that Python tries once more
        outlet = switch.path.wire.outlet._replace(descriptor=-1)
        with switch.path.lock:
            switch.path.wire = switch.path.wire._replace(outlet=outlet)
        outcome = attempt(switch, 2, lambda network: network.sum(np.ones(9, np.int32)))
        outcome.check()
        assert all(np.all(found == 2) for found in outcome.values)
        assert switch.path.unsent == 2


def test_a_dead_worker_s_port_stops_nobody() -> None:
    """Results to a closed port come back as errors of the switch's own socket."""
    with fixed_job() as job:
        job.workers[1].send(
            emit(opcode=Opcode.CONTRIBUTE, job=JOB, worker=1, sequence=0, kind=KIND)
        )
        time.sleep(0.05)
        job.workers[1].close()
        for _ in range(20):  # a result, then replays; every copy to 1 is refused
            job.contribute(0, 0, b"\1")
            assert len(job.result(0)) == HEADER_BYTES + 1


def test_more_addresses_than_workers_of_one_job() -> None:
    """Every join brings new ports; the switch knows those of the jobs that it has."""
    others = tuple(("127.0.0.1", 1 + port) for port in range(60))
    fixed = JobConfig(job=1, workers=others, num_slots=4)
    with running(jobs=(fixed,)) as switch:
        for _ in range(2):
            outcome = attempt(
                switch, 23, lambda network: network.sum(np.ones(5, np.int8)),
                num_slots=4,
            )  # fmt: skip
            outcome.check()
            assert all(found.tolist() == [23] * 5 for found in outcome.values)
        known = switch.path.pipeline.known.known
        assert len(known) in (60 + 23, 60 + 24)  # with a multicast group


# opening and closing


def test_a_taken_port_is_an_error() -> None:
    with (
        running() as switch,
        pytest.raises(OSError, match="Address already in use"),
        running(port=switch.address[1]),
    ):
        pass


def test_a_taken_control_port_is_an_error_and_frees_the_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with (
            pytest.raises(OSError, match=rf"127.0.0.1:{address[1]} .TCP.:"),
            running(port=address[1]),
        ):
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as data:
            data.bind(address)


def test_an_address_of_another_machine_is_an_error() -> None:
    with (
        pytest.raises(OSError, match="annot assign requested address"),
        running(address="192.0.2.1"),
    ):
        pass


def test_fixed_jobs_that_do_not_fit() -> None:
    jobs = tuple(
        JobConfig(job=job, workers=(("127.0.0.1", 5000 + job),), num_slots=8)
        for job in (1, 2)
    )
    text = r"8 slots asked for, but of .* 12 slots 8 are in use"
    with pytest.raises(ValueError, match=text), running(num_slots=12, jobs=jobs):
        pass


def test_a_switch_can_follow_another_at_its_port() -> None:
    def work(network: Network) -> list[int]:
        return network.sum(np.ones(2, np.int8)).tolist()

    port = 0
    for _ in range(3):
        with running(port=port) as switch:
            port = switch.address[1]
            assert attempt(switch, 2, work).values == [[2, 2]] * 2


def test_handlers_of_signals_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with server.stop_signals() as stop:
        assert not select.select([stop], [], [], 0)[0]
        signal.raise_signal(signal.SIGTERM)
        assert select.select([stop], [], [], WAIT)[0]
        signal.raise_signal(signal.SIGINT)  # twice does no harm
    assert [signal.getsignal(number) for number in numbers] == before


SERVE = """
from switch.config import SwitchConfig
from switch.server import serve
def ready(address):
    print(*address, flush=True)
print(serve(SwitchConfig(port=0), ready=ready))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_serving_switch_with_its_counters(number: signal.Signals) -> None:
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            host, port = child.stdout.readline().split()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"rubbish", (host, int(port)))
            deadline = time.monotonic() + WAIT
            while ask_counters(f"{host}:{port}")["malformed"] == 0:
                assert time.monotonic() < deadline
            child.send_signal(number)
            output, _ = child.communicate(timeout=WAIT)
        finally:
            child.kill()
    assert child.returncode == 0
    assert "'malformed': 1," in output
    assert "'accepted': 0," in output


WARM = """
import inspect, sys
from switch import server
from switch.compiled import Kernel
from switch.config import SwitchConfig

def versions():
    found = {}
    for module in [m for name, m in sys.modules.items() if name.startswith("switch.")]:
        for name, member in inspect.getmembers(module):
            if isinstance(member, Kernel):
                both = member.signatures + member.by_python.signatures
                found[member] = len(both)
    return found

server.warm_up()
before = versions()
sys.path.insert(0, sys.argv[1])
import real_switch, test_server
real_switch.compile_kernels = lambda: None  # not the switch's own doing
test_server.test_repeats_are_replayed_and_queries_answered()
test_server.test_the_faults_of_the_switch_are_counted_apart()
after = versions()
new = [k.__qualname__ for k in before if after[k] != before[k]]
print(len(before), new)
"""


def test_warming_up_leaves_nothing_to_compile() -> None:
    """`listening` promises that the first packet waits for no compiler."""
    command = [sys.executable, "-c", WARM, __file__.rpartition("/")[0]]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert found.returncode == 0, found.stderr
    count, _, new = found.stdout.partition(" ")
    assert int(count) > 20
    assert new.strip() == "[]"
