"""A target at the other end of a network, and how to tell that it has said all it will.

Nobody waits for silence. Behind the packets of a script goes a query, the marker: a
switch answers a query always, and in its turn, so what comes before the answer is all
that there is. First the sender's marker, which tells that its packets have been
processed; then one of every other worker, which tells that no more comes to it either.
Queries change nothing in a switch but two counters, from which they are taken off.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from intswitch.conformance.difference import hexed
from intswitch.conformance.jobs import Jobs
from intswitch.conformance.script import Datagram
from intswitch.conformance.target import Places, Unanswered, Violation
from switch.admission import text_of
from switch.config import Address, SwitchConfig
from switch.protocol import (
    FORMAT,
    HEADER_BYTES,
    OFFSET,
    STATUS_BYTES,
    Opcode,
    emit,
)

BURST = 64  # packets that a target must be able to queue
GREETINGS = 3  # markers until a target that says nothing is held to be absent
SHOWN = 3  # packets that came instead
LOOKED_AT = 64  # slots of a fixed job that are asked whether they are empty

QUERY, STATUS = (FORMAT << 4 | code for code in (Opcode.QUERY, Opcode.STATUS))
AT_JOB, AT_WORKER, AT_SEQUENCE = (
    OFFSET[name] for name in ("job", "worker", "sequence")
)


class Wire(Protocol):
    """What carries packets to and from the switch; addresses are the script's."""

    def open(self, places: Places) -> Places:
        """Send from and receive at these, and no others; where they are in the end."""

    def aim(self, switch: Address) -> None:
        """Send to this address from now on, and take packets from nowhere else."""

    def send(self, packet: bytes, source: Address) -> None: ...

    def receive(self, until: float) -> list[Datagram]:
        """What has come, or the next that comes. Nothing: it is `until`."""

    def close(self) -> None: ...


class NetworkTarget:
    """A switch that is reached by packets. Close it when the last script is over."""

    def __init__(self, jobs: Jobs, wire: Wire, timeout: float) -> None:
        self.jobs = jobs
        self.wire = wire
        self.timeout = timeout
        self.heard = False
        self.asked = 0
        """The sequence that markers ask for, modulo what the job's slots hold."""

    # the four methods of a Target

    def configure(self, config: SwitchConfig) -> None:
        self.jobs.give_back()
        places = self.wire.open(self.jobs.places(config))
        self.config = config
        self.numbers = self.jobs.take(config, places)
        self.wire.aim(self.jobs.switch())
        self.places = {
            address: (job.job, rank)
            for job in config.jobs
            for rank, address in enumerate(job.workers)
        }
        self.widths = {job.job: 2 * job.num_slots for job in config.jobs}
        self.markers = Counter[int | None]()
        self.greet()
        if not self.jobs.fresh:
            self.check_empty()
        self.markers.clear()
        self.base = {job: self.jobs.counters(to) for job, to in self.numbers.items()}
        self.base_of_all = self.jobs.counters(None)

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        if not datagrams:
            return self.late()
        received: list[Datagram] = []
        speaker = datagrams[0][1]
        for burst in bursts(datagrams):
            for packet, source in burst:
                self.wire.send(self.outward(packet), source)
            speaker = self.speaker(burst[-1][1])
            self.asked = int.from_bytes(burst[-1][0][AT_SEQUENCE:][:4], "big") + 1
            self.await_markers([speaker], received)
        others = [address for address in self.places if address != speaker]
        self.await_markers(others, received)
        return received + self.receive(0.0)  # at the stranger's

    def late(self) -> list[Datagram]:
        """In some switches a multicast can be overtaken by an answer to one worker."""
        received = self.receive(time.monotonic() + self.timeout)
        if received:
            self.await_markers(self.places, received)
        return received

    def counters(self, job: int | None = None) -> dict[str, int] | None:
        counters = self.jobs.counters(None if job is None else self.numbers[job])
        base = self.base_of_all if job is None else self.base[job]
        if counters is None or base is None:
            return None
        since = {name: value - base.get(name, 0) for name, value in counters.items()}
        for name in ("statuses", "copies"):
            if name in since:
                since[name] -= self.markers[job]
        return since

    def reset(self, job: int) -> None:
        counted = self.counters(job)
        self.numbers[job] = self.jobs.renew(job)
        if counted is not None:
            now = self.jobs.counters(self.numbers[job]) or {}
            self.base[job] = {
                name: now.get(name, 0) - counted[name] for name in counted
            }
            self.markers[job] = 0

    def close(self) -> None:
        self.wire.close()
        self.jobs.give_back()

    # markers

    def await_markers(
        self, workers: Iterable[Address], received: list[Datagram]
    ) -> None:
        """Ask as each of `workers`, and collect what comes until all are answered.

        The answer is told from others by the slot that it is of: the script's last
        query was for the one before.
        """
        waiting = {}
        for address in workers:
            job, rank = self.places[address]
            slot = waiting[address] = self.asked % self.widths[job]
            self.wire.send(query(self.numbers[job], rank, slot), address)
            self.markers[job] += 1
            self.markers[None] += 1
        until = time.monotonic() + self.timeout
        while waiting:
            came = self.receive(until)
            if not came:
                raise Unanswered(self.silence(waiting, received), received)
            for packet, address in came:
                if address in waiting and self.answers(
                    packet, address, waiting[address]
                ):
                    del waiting[address]
                else:
                    received.append((packet, address))

    def answers(self, packet: bytes, address: Address, slot: int) -> bool:
        job, _ = self.places[address]
        return (
            packet[:1] == bytes([STATUS])
            and len(packet) == HEADER_BYTES + STATUS_BYTES
            and int.from_bytes(packet[AT_JOB:][:2], "big") == job
            and int.from_bytes(packet[AT_SEQUENCE:][:4], "big") % self.widths[job]
            == slot
        )

    def silence(self, waiting: dict[Address, int], received: list[Datagram]) -> str:
        address, slot = next(iter(waiting.items()))
        job, rank = self.places[address]
        asked = query(self.numbers[job], rank, slot).hex()
        more = f", nor to {len(waiting) - 1} other workers" if len(waiting) > 1 else ""
        came = [hexed(packet) for packet, to in received if to == address][-SHOWN:]
        instead = f"; what came: {', '.join(came)}" if came else ""
        number = self.numbers[job]
        name = f"job {number}" + (f" (in the script {job})" if number != job else "")
        return (
            f"no status came to worker {rank} of {name} within {self.timeout:g} s"
            f"{more}, in answer to the query that the kit sends behind the packets: "
            f"{asked}{instead}"
        )

    def speaker(self, source: Address) -> Address:
        """Who asks whether packets of `source` have been processed: nobody answers
        the stranger."""
        return source if source in self.places else next(iter(self.places))

    def greet(self) -> None:
        """Tells a target that is not there from one that lost a packet."""
        first = next(iter(self.places))
        for last in range(GREETINGS):
            if self.heard:
                return
            try:
                self.await_markers([first], [])
            except Unanswered as error:
                if last == GREETINGS - 1:
                    at = text_of(self.jobs.switch())
                    raise ConnectionError(
                        f"nothing comes from the target at {at}: {error}"
                    ) from None

    def check_empty(self) -> None:
        for job in self.config.jobs:
            address = job.workers[0]
            slots = range(min(self.widths[job.job], LOOKED_AT))
            asked = [(query(job.job, 0, slot), address) for slot in slots]
            for packet, _ in self.process(asked):
                held = int.from_bytes(packet[AT_WORKER:][:2], "big")
                if packet[:1] == bytes([STATUS]) and held:
                    raise Violation(
                        "its jobs have been used before: reset them, or start the "
                        "target anew, before every run"
                    )

    # job ids

    def receive(self, until: float) -> list[Datagram]:
        came = self.wire.receive(until)
        self.heard = self.heard or bool(came)
        return [(self.inward(packet), address) for packet, address in came]

    def outward(self, packet: bytes) -> bytes:
        """With the job id that the target knows."""
        if len(packet) < AT_JOB + 2:
            return packet
        job = int.from_bytes(packet[AT_JOB:][:2], "big")
        if job not in self.numbers:
            return with_job(packet, self.jobs.unused(job, self.numbers.values()))
        return with_job(packet, self.numbers[job])

    def inward(self, packet: bytes) -> bytes:
        """With the job id of the script."""
        if len(packet) < AT_JOB + 2:
            return packet
        there = int.from_bytes(packet[AT_JOB:][:2], "big")
        for job, number in self.numbers.items():
            if number == there:
                return with_job(packet, job)
        raise Violation(f"a packet of job {there}, which is not ours: {hexed(packet)}")


def with_job(packet: bytes, job: int) -> bytes:
    return packet[:AT_JOB] + job.to_bytes(2, "big") + packet[AT_JOB + 2 :]


def query(job: int, rank: int, sequence: int) -> bytes:
    return emit(opcode=Opcode.QUERY, job=job, worker=rank, sequence=sequence)


def bursts(datagrams: list[Datagram]) -> Iterator[list[Datagram]]:
    """Packets of one sender, few enough; a query is the last of its burst."""
    burst: list[Datagram] = []
    for packet, source in datagrams:
        if burst and (source != burst[-1][1] or len(burst) == BURST):
            yield burst
            burst = []
        burst.append((packet, source))
        if packet[:1] == bytes([QUERY]):
            yield burst
            burst = []
    if burst:
        yield burst
