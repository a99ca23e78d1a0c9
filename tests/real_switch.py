"""A real switch on loopback in a thread, and workers as threads of the same process.

(The kernels let go of Python's lock, so they do run side by side.)
"""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from host.agent import Network, Statistics, join
from switch.admission import text_of
from switch.config import Address, SwitchConfig
from switch.protocol import DropReason
from switch.replicate import Copies
from switch.server import DataPath, loop, open_switch, warm_up
from switch.udp import Rows

WAIT = 60.0  # seconds after which a test fails instead of hanging

# every packet that arrives is counted in exactly one of them
ONCE = ("accepted", "replays", "statuses", *(r.name.lower() for r in DropReason))
# of these not one, when nobody misbehaves and the network keeps the order
NEVER = ("malformed", "unknown_source", "opcode", "ahead", "mismatch")


@dataclass
class OnSend:
    """A tap that changes what the switch sends."""

    change: Callable[[Copies], None]

    def on_receive(self, rows: Rows, count: int, addresses: list[Address]) -> None:
        pass

    def on_send(self, out: Copies, addresses: list[Address]) -> None:
        self.change(out)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")


@dataclass
class RealSwitch:
    path: DataPath
    address: Address
    thread: threading.Thread
    stop: int
    jobs: int = field(default=0)

    @property
    def endpoint(self) -> str:
        return text_of(self.address)

    def tap(self, change: Callable[[Copies], None]) -> None:
        """Change what the switch sends, from now on."""
        with self.path.lock:
            self.path.pipeline.tap = OnSend(change)

    def settle(self) -> dict[str, int]:
        """Stop, process what still lies in the socket, and count."""
        if self.thread.is_alive():
            os.eventfd_write(self.stop, 1)
            self.thread.join()
        while select.select([self.path.sock], [], [], 0)[0]:
            self.path.turn()
        return self.path.pipeline.counters()


@contextmanager
def running(**fields: Any) -> Iterator[RealSwitch]:
    """A switch at any free port, from SwitchConfig's fields."""
    compile_kernels()
    with _running(**fields) as switch:
        yield switch


@cache
def compile_kernels() -> None:
    """Once a process: with an empty cache, WAIT may be too short for the compiler."""
    warm_up()  # without the lock that a join needs
    with (
        _running() as switch,
        join(
            switch.endpoint, job="compile", rank=0, num_workers=1, timeout=WAIT
        ) as network,
    ):
        network.sum(np.ones(3, np.int32))


@contextmanager
def _running(**fields: Any) -> Iterator[RealSwitch]:
    config = SwitchConfig(**{"port": 0, **fields})
    with _eventfd() as stop, open_switch(config) as (path, address):
        thread = threading.Thread(target=loop, args=(path, stop), name="data path")
        thread.start()
        switch = RealSwitch(path, address, thread, stop)
        try:
            yield switch
        finally:
            switch.settle()


@contextmanager
def _eventfd() -> Iterator[int]:
    stop = os.eventfd(0)
    try:
        yield stop
    finally:
        os.close(stop)


@dataclass
class Outcome:
    """What the workers of one job came to, by rank."""

    values: list[Any]
    """What the function returned, or the exception that it raised."""
    statistics: list[Statistics]

    def check(self) -> None:
        """Raise what a worker raised."""
        for value in self.values:
            if isinstance(value, BaseException):
                raise value


Work = Callable[[Network], Any]


def attempt(
    switch: RealSwitch, num_workers: int, work: Work, **options: Any
) -> Outcome:
    """Every worker joins a new job, runs `work(network)` and leaves."""
    switch.jobs += 1
    values: list[Any] = [None] * num_workers
    statistics: list[Any] = [None] * num_workers
    given = {"job": f"job {switch.jobs}", "timeout": WAIT, **options}

    def run(rank: int) -> None:
        try:
            with join(
                switch.endpoint, rank=rank, num_workers=num_workers, **given
            ) as network:
                network.timeout = WAIT
                statistics[rank] = network.statistics
                values[rank] = work(network)
        except BaseException as error:
            values[rank] = error

    threads = [
        threading.Thread(target=run, args=(rank,)) for rank in range(num_workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT)
        assert not thread.is_alive(), "a worker hangs"
    return Outcome(values, statistics)


def run_workers(
    switch: RealSwitch, num_workers: int, work: Work, **options: Any
) -> list[Any]:
    """What every worker's `work(network)` returned; no worker may fail."""
    outcome = attempt(switch, num_workers, work, **options)
    outcome.check()
    return outcome.values


def check_identities(counters: dict[str, int], outcomes: list[Outcome]) -> None:
    """What must hold of a settled switch that these jobs alone have used."""
    contributions = results = sent = received = 0
    for outcome in outcomes:
        chunks = [
            worker.packets_sent - worker.retransmissions - worker.queries
            for worker in outcome.statistics
        ]
        assert len(set(chunks)) == 1, "every worker sends every chunk once"
        results += chunks[0]
        contributions += sum(chunks)
        sent += sum(worker.packets_sent for worker in outcome.statistics)
        received += sum(worker.packets_received for worker in outcome.statistics)
    assert counters["accepted"] == contributions
    assert counters["results"] == results
    assert sum(counters[name] for name in ONCE) + counters["lost_in"] == sent
    assert not any(counters[name] for name in NEVER), counters
    replies = counters["replays"] + counters["statuses"]
    assert counters["copies"] == contributions + replies
    assert received <= counters["copies"] - counters["lost_out"]


def array_of(rank: int, size: int, dtype: Any, workers: int = 3) -> NDArray[Any]:
    """Different on every worker; the sum over all of them stays in the range."""
    ends = np.iinfo(dtype)
    random = np.random.default_rng([rank, size])
    return random.integers(ends.min // workers, ends.max // workers, size, dtype)


def total(num_workers: int, size: int, dtype: Any) -> NDArray[Any]:
    arrays = [array_of(rank, size, dtype, num_workers) for rank in range(num_workers)]
    return np.sum(arrays, axis=0, dtype=np.int64).astype(dtype)
