"""A switch in a process, a good job, and what is thrown at both of them meanwhile."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from host.agent import Network, join
from host.channel import split_address
from host.controller import counters
from intswitch.fuzz.bytes import Mutator
from intswitch.fuzz.calls import Caller
from intswitch.switch_process import Switch

WORKERS = 2
ELEMENTS = 2000
PACE = 256  # datagrams between two looks at the clock
RATE = 50_000  # datagrams a second at most: the good job is to get through as well
SPOOFED = 3  # of so many datagrams, one comes from a worker's own address


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    datagrams: int = 0
    calls: int = 0
    refused: int = 0
    """Calls answered with an error."""
    sums: int = 0
    """Aggregations of the good job, all exact."""
    memory: tuple[int, ...] = ()
    """Resident bytes of the switch, at equal distances."""
    counted: dict[str, int] | None = None
    """By the switch."""
    seconds: float = 0.0


class GoodJob:
    """Two workers, in threads, that add up until they are told to stop."""

    def __init__(self, endpoint: str) -> None:
        self.sums = 0
        self.error: BaseException | None = None
        self.networks: list[Network] = [None] * WORKERS  # type: ignore[list-item]
        self._stop = threading.Event()
        self._ready = threading.Barrier(WORKERS + 1)
        self._threads = [
            threading.Thread(target=self._work, args=(endpoint, rank), daemon=True)
            for rank in range(WORKERS)
        ]
        for thread in self._threads:
            thread.start()
        self._ready.wait()

    def _work(self, endpoint: str, rank: int) -> None:
        try:
            options = {"job": "good", "num_workers": WORKERS, "timeout": 300.0}
            with join(endpoint, rank=rank, **options) as network:  # type: ignore[arg-type]
                self.networks[rank] = network
                self._ready.wait()
                turn = 0
                while self._goes_on(network):
                    self._add(network, turn)
                    turn += 1
        except BaseException as error:
            self.error = self.error or error  # the others' follow from the first
            self._ready.abort()

    def _goes_on(self, network: Network) -> bool:
        """All workers agree on it: the first one's word counts."""
        word = np.array([not self._stop.is_set()], np.int8)
        return bool(network.broadcast(word, 0)[0])

    def _add(self, network: Network, turn: int) -> None:
        """Other numbers in each turn: an earlier turn's sum would be a wrong one."""
        values = [
            np.random.default_rng([rank, turn]).integers(-(2**28), 2**28, ELEMENTS)
            for rank in range(WORKERS)
        ]
        own = values[network.rank].astype(np.int32)
        if not np.array_equal(network.sum(own), sum(values)):
            raise AssertionError(f"a wrong sum, after {turn} that were right")
        self.sums += network.rank == 0

    @property
    def job(self) -> int:
        """Its number."""
        return self.networks[0]._membership.job

    def check(self) -> None:
        """Raise what a worker has raised."""
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.check()


def run(
    datagrams: int,
    calls: int,
    seed: int = 0,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Throw so many datagrams and calls at a new switch.

    Raises AssertionError for a wrong sum, and what tells that the switch or a worker is
    gone.
    """
    outcome = Outcome()
    started = time.monotonic()
    with Switch(port=0, status=lambda text: None) as switch:
        good = GoodJob(switch.endpoint)
        child = switch.child
        assert child
        try:
            pid = child.process.pid
            caller = threading.Thread(
                target=_make_calls, args=(switch.endpoint, calls, seed, outcome)
            )
            caller.start()
            for memory in _throw(switch.endpoint, good, datagrams, seed, outcome, pid):
                outcome.memory = (*outcome.memory, memory)
                good.check()
                progress(outcome)
            caller.join()
        finally:
            good.stop()
        if child.has_ended():
            raise RuntimeError(f"the switch {child.ending()}: {child.errors()}")
        outcome.memory = (*outcome.memory, resident(pid))
        outcome.sums, outcome.counted = good.sums, counters(switch.endpoint)
    if outcome.calls < calls:
        raise RuntimeError(f"the control plane gave up after {outcome.calls} calls")
    outcome.seconds = time.monotonic() - started
    return outcome


def _throw(
    endpoint: str, good: GoodJob, count: int, seed: int, outcome: Outcome, pid: int
) -> Iterator[int]:
    """Send; the switch's memory, now and then."""
    mutator = Mutator(seed, good.job, WORKERS)
    address = split_address(endpoint)
    every = max(count // 20, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        began = time.monotonic()
        for number in range(count):
            packet = mutator.datagram()
            if number % SPOOFED == 0:
                _as_a_worker(good, mutator, packet)
            else:
                stranger.sendto(packet, address)
            outcome.datagrams += 1
            if number % every == 0:
                yield resident(pid)
            if number % PACE == 0:
                early = began + number / RATE - time.monotonic()
                time.sleep(max(0.0, early))


def _as_a_worker(good: GoodJob, mutator: Mutator, packet: bytes) -> None:
    """From a worker's own address. What the slot rule would take for its contribution
    would be one: such packets are made foreign."""
    rank = mutator.random.randrange(WORKERS)
    if (
        len(packet) >= 4
        and packet[0] & 0xF == 0
        and packet[2:4] == good.job.to_bytes(2)
    ):
        packet = packet[:2] + b"\0\0" + packet[4:]
    good.networks[rank]._sock.send(packet)


def _make_calls(endpoint: str, count: int, seed: int, outcome: Outcome) -> None:
    caller = Caller(endpoint, Mutator(seed + 1, 1))
    try:
        for _ in range(count):
            caller.call()
            outcome.calls += 1
            outcome.refused = caller.refused
    finally:
        caller.close()


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
