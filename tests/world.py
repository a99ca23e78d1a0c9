"""A deterministic world: workers' windows and one pipeline, or a tree of them, joined
by links that lose, repeat and delay packets. Virtual time, seeded; no socket, no sleep.
"""

import heapq
import itertools
import random
from dataclasses import dataclass, field

from host import window as win
from host.datagrams import bytes_of_rows, contributions, queries, row_of, take_in
from host.losses import expire
from host.packetizer import Stream
from switch.config import Address, JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import AT_FLAGS, Flag, Overflow, Rule
from switch.tree import Path, Tree, jobs_of, ranks_behind, switches_of

JOB = 7
SWITCH = ("127.0.0.1", 4000)


@dataclass(kw_only=True)
class Link:
    """Both directions of every cable. Seconds and probabilities."""

    delay: float = 1e-3
    jitter: float = 0.0
    loss: float = 0.0
    repeat: float = 0.0


@dataclass
class Worker:
    state: win.State
    rank: int
    address: Address
    switch: Address
    stream: Stream | None = None
    wakes: float = float("inf")
    sent: int = 0
    repeated: int = 0
    queries: int = 0
    finished_at: float = 0.0


@dataclass
class World:
    """`aggregate` runs one stream a worker to its end and returns the virtual time."""

    num_workers: int
    num_slots: int = 8
    slot_bytes: int = 64
    link: Link = field(default_factory=Link)
    seed: int = 0
    rule: Rule = Rule.SAFE
    limit: int | None = None
    overflow: Overflow = Overflow.DETECT
    code4: tuple[int, ...] | None = None
    code8: tuple[int, ...] | None = None
    tree: Tree | None = None
    """None: all workers are at one switch."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = 0.0
        self.order = itertools.count()
        self.events: list[tuple[float, int, Address, bytes, Address]] = []
        addresses = tuple(("127.0.0.1", 5000 + i) for i in range(self.num_workers))
        job = JobConfig(
            job=JOB,
            workers=addresses,
            num_slots=self.num_slots,
            slot_bytes=self.slot_bytes,
            overflow=self.overflow,
            code4=self.code4,
            code8=self.code8,
        )
        jobs = {(): job}
        if self.tree is not None:
            paths = [path for path, _ in switches_of(self.tree)]
            names = {at: (SWITCH[0], SWITCH[1] + n) for n, at in enumerate(paths)}
            jobs = jobs_of(self.tree, job, names)
        self.switches: dict[Path, Pipeline] = {
            at: Pipeline(SwitchConfig(rule=self.rule, num_slots=self.num_slots,
                                      slot_bytes=self.slot_bytes, jobs=(each,)))
            for at, each in jobs.items()
        }  # fmt: skip
        self.pipeline = self.switches[()]
        """The root."""
        self.of_name = {
            (SWITCH[0], SWITCH[1] + number): pipeline
            for number, pipeline in enumerate(self.switches.values())
        }
        workers = [
            self.worker(addresses, address, name)
            for name, pipeline in self.of_name.items()
            for address in pipeline.config.jobs[0].workers
            if address in addresses
        ]
        self.workers = sorted(workers, key=lambda worker: worker.rank)
        self.of_address = {worker.address: worker for worker in self.workers}

    def worker(
        self, addresses: tuple[Address, ...], address: Address, switch: Address
    ) -> Worker:
        """The one at this address, a child of this switch."""
        job = self.of_name[switch].config.jobs[0]
        rank = addresses.index(address)
        state = win.new_state(
            num_slots=self.num_slots,
            limit=self.limit or self.num_slots,
            job=JOB,
            worker=rank,
            num_workers=self.num_workers,
            seat=win.seat_at(rank, ranks_behind(job)),
        )
        return Worker(state, rank, address, switch)

    def aggregate(
        self,
        streams: list[Stream],
        *,
        starts: list[float] | None = None,
        until: float = 1e6,
    ) -> float:
        began = self.now
        for worker, stream in zip(self.workers, streams, strict=True):
            count = stream.elements_per_chunk
            win.begin(worker.state, stream.num_chunks, stream.kind, count)
            worker.stream = stream
            worker.wakes = self.now + (starts[worker.rank] if starts else 0.0)
        while not all(self.is_done(worker) for worker in self.workers):
            self.turn()
            if self.now - began > until:
                break
        return self.now - began

    def is_done(self, worker: Worker) -> bool:
        return int(worker.state.window["done"][0]) == worker.stream.num_chunks

    def turn(self) -> None:
        """The next event: a packet arrives, or a worker's timer runs out."""
        sleeper = min(self.workers, key=lambda worker: worker.wakes)
        if not self.events and sleeper.wakes == float("inf"):
            raise AssertionError("deadlock: nothing in flight and no timer")
        if self.events and self.events[0][0] <= sleeper.wakes:
            self.now, _, receiver, packet, sender = heapq.heappop(self.events)
            if receiver in self.of_name:
                for copy, to in self.of_name[receiver].process([(packet, sender)]):
                    self.carry(copy, to, receiver)
            else:
                self.deliver(self.of_address[receiver], packet)
            return
        self.now = max(self.now, sleeper.wakes)
        expire(sleeper.state, self.now)
        self.send(sleeper)

    def carry(self, packet: bytes, receiver: Address, sender: Address) -> None:
        if self.random.random() < self.link.loss:
            return
        copies = 2 if self.random.random() < self.link.repeat else 1
        for _ in range(copies):
            at = self.now + self.link.delay + self.random.random() * self.link.jitter
            event = (at, next(self.order), receiver, packet, sender)
            heapq.heappush(self.events, event)

    def deliver(self, worker: Worker, packet: bytes) -> None:
        arrived = take_in(worker.state, worker.stream, row_of(packet), self.now)
        if arrived.chunks.size and self.is_done(worker):
            worker.finished_at = self.now
        self.send(worker)

    def send(self, worker: Worker) -> None:
        for packet in self.packets_due(worker):
            self.carry(packet, worker.switch, worker.address)
        worker.wakes = float(worker.state.window["next_timeout"][0])

    def packets_due(self, worker: Worker) -> list[bytes]:
        due = bytes_of_rows(contributions(worker.state, worker.stream, self.now))
        worker.sent += len(due)
        worker.repeated += sum(packet[AT_FLAGS] & Flag.REPEATED > 0 for packet in due)
        asked = bytes_of_rows(queries(worker.state, self.now))
        worker.queries += len(asked)
        return due + asked
