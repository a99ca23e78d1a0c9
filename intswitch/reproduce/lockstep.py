"""Workers in one process, and the emulated switch between them without sockets.

The compressors, the packets, the windows and the switch's pipeline are those of any
other fabric; only the network is missing: nothing is lost, late or reordered, and the
workers go in step. So the integers, and the floats made of them, are bit for bit those
that a training over UDP has.

Workers are threads, for a compressor asks for its aggregations from within `average`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from host import window as win
from host.collectives import Collectives
from host.compressors.base import Compressor, Gradient
from host.datagrams import contributions, take_in
from host.packetizer import Stream
from host.transport import Statistics
from intswitch.reproduce.claims import Progress, Quiet
from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.udp import Rows

Outcome = TypeVar("Outcome")

JOB = 1
GROUP = ("239.255.0.1", 1)  # one copy of a result for everybody, as on loopback
NOW = 0.0  # nothing is late


class Port(NamedTuple):
    """One worker's end."""

    state: win.State
    source: int
    """Number of its address at the switch."""


class Lockstep:
    """A switch with one job. `job`: of `JobConfig`, such as slot_bytes."""

    def __init__(self, num_workers: int, *, num_slots: int = 256, **job: Any) -> None:
        workers = tuple((f"10.0.0.{rank + 1}", 1) for rank in range(num_workers))
        config = JobConfig(
            job=JOB, workers=workers, num_slots=num_slots, group=GROUP, **job
        )
        self.config = config
        self.pipeline = Pipeline(
            SwitchConfig(
                num_slots=num_slots, slot_bytes=config.slot_bytes, jobs=(config,)
            )
        )
        self.shared = self.pipeline.known.number_of[GROUP]
        self.ports = [self.port(rank) for rank in range(num_workers)]
        self.barrier = threading.Barrier(num_workers)
        self.offers: list[Any] = [None] * num_workers
        """What each worker brings to the barrier."""

    def port(self, rank: int) -> Port:
        slots, num_workers = self.config.num_slots, len(self.config.workers)
        return Port(
            win.new_state(
                num_slots=slots,
                limit=slots,
                job=JOB,
                worker=rank,
                num_workers=num_workers,
            ),
            self.pipeline.known.number_of[self.config.workers[rank]],
        )

    def aggregate(self, streams: Sequence[Stream]) -> None:
        """One stream of every worker, from its first chunk to its last."""
        kinds = {(stream.kind, stream.num_chunks) for stream in streams}
        if len(kinds) > 1:
            raise RuntimeError(f"the workers' aggregations differ: {kinds}")
        for port, stream in zip(self.ports, streams, strict=True):
            win.begin(
                port.state, stream.num_chunks, stream.kind, stream.elements_per_chunk
            )
        while self.ports[0].state.window["done"][0] < streams[0].num_chunks:
            for port, stream in zip(self.ports, streams, strict=True):
                self.send(port, stream)
            # with the last worker's contributions all results of the round are out
            for port, stream in zip(self.ports, streams, strict=True):
                self.receive(port, stream)

    def send(self, port: Port, stream: Stream) -> None:
        """All contributions that the window allows, through the switch."""
        rows = contributions(port.state, stream, NOW)
        count = rows.source.size
        source = np.full(count, port.source, np.int64)
        self.pipeline.run(rows._replace(source=source), count)

    def receive(self, port: Port, stream: Stream) -> None:
        """The results that the switch has just sent to this worker."""
        out = self.pipeline.out
        sent = out.rows[: out.used[0]]
        mine = sent[np.isin(sent["destination"], (self.shared, port.source))]
        rows = Rows(
            out.buffer,
            mine["offset"].copy(),
            mine["length"].copy(),
            np.zeros(len(mine), np.int64),
        )
        take_in(port.state, stream, rows, NOW)


class Worker(Collectives):
    """One worker's network; see `host.collectives`."""

    def __init__(self, switch: Lockstep, rank: int) -> None:
        self.switch = switch
        self.rank = rank
        self.num_workers = len(switch.config.workers)
        self.num_slots = switch.config.num_slots
        self.slot_bytes = switch.config.slot_bytes
        self.code4 = switch.config.code4
        self.code8 = switch.config.code8
        self.totals = Statistics()

    @property
    def statistics(self) -> Statistics:
        return self.totals

    def aggregate(self, stream: Stream) -> None:
        """Waits for the others; worker 0 then runs the aggregation of all."""
        streams = self.exchange(stream)
        if self.rank == 0:
            self.switch.aggregate(streams)
        self.switch.barrier.wait()
        self.totals.aggregations += 1

    def exchange(self, offer: Any) -> list[Any]:
        """What all workers have called this with, by rank: past the switch, for what
        a reproduction wants to know and no worker could."""
        self.switch.offers[self.rank] = offer
        self.switch.barrier.wait()
        offers = list(self.switch.offers)
        self.switch.barrier.wait()
        return offers

    def watch(self, progress: Progress) -> Progress:
        """The progress on worker 0; on the others, one that shows nothing."""
        return progress if self.rank == 0 else Quiet()


def means(
    gradients: Gradient, create: Callable[[], Compressor], draws: int
) -> Gradient:
    """[draws, d] means of the same gradients, [n, d], as worker 0 has them. `create`
    makes each worker's compressor."""

    def work(network: Worker) -> Gradient:
        compressor, mine = create(), gradients[network.rank]
        return np.array([compressor.average(mine, network) for _ in range(draws)])

    tables = create().tables(len(gradients))
    return run(len(gradients), work, **tables)[0]


def run(
    num_workers: int, work: Callable[[Worker], Outcome], **job: Any
) -> list[Outcome]:
    """[num_workers] what `work(network)` returns on each worker.

    `job`: see `Lockstep`. Raises what `work` raises, on any worker.
    """
    switch = Lockstep(num_workers, **job)
    outcomes: list[Any] = [None] * num_workers
    errors: list[Exception] = []

    def act(rank: int) -> None:
        try:
            outcomes[rank] = work(Worker(switch, rank))
        except threading.BrokenBarrierError:
            pass  # another worker's error, which is told below
        except Exception as error:
            errors.append(error)
            switch.barrier.abort()

    threads = [
        threading.Thread(target=act, args=(rank,), daemon=True)
        for rank in range(num_workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return outcomes
