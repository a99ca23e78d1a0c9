"""What an aggregation in virtual time came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.links import OVERHEAD_BYTES, SMALLEST_FRAME
from intswitch.sim.state import OCCUPANCY, World
from switch.aggregate import COUNTERS
from switch.faults import COUNTS
from switch.protocol import HEADER_BYTES

ONCE = [name for name in COUNTERS if name not in ("results", "copies")]
"""Every packet that reaches a switch is in one of these counters."""
COUNTED = ("packets", "bytes", "dropped", "waited", "longest_wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One aggregation. Virtual seconds; bytes are of UDP payloads."""

    num_workers: int
    num_chunks: int
    vector_bytes: int
    """Of one worker's sum."""
    seconds: float
    """Until the last worker has its last result."""
    worker_seconds: NDArray[np.float64]
    """[workers] the same for each."""
    wrong: int
    """Results that were not the exact sum."""
    checked: int
    counters: dict[str, int]
    """Packets at all switches, by what became of them; see docs/protocol.md."""
    switch_counters: list[dict[str, int]]
    """The same for each switch, the root first."""
    sent: int
    """Packets that the workers sent: contributions and queries."""
    retransmissions: int
    queries: int
    received: int
    """Packets that reached the workers."""
    packet_hops: int
    """Packets put on a link, each copy of a multicast by itself."""
    hop_bytes: int
    dropped: int
    """By full queues."""
    faults: dict[str, int]
    """What the links did: seen, lost, duplicated, held_back, caught, missed."""
    longest_queue: float
    """Bytes on the wire in front of a packet that waited for a link of a switch, at
    most."""
    mean_wait: float
    """Seconds that a switch's packet waited for its link."""
    slots_held: NDArray[np.float64]
    """[switches] slots taken over whose result was not out, mean over the time."""
    most_slots_held: NDArray[np.int64]
    """[switches] the same at most."""

    @property
    def goodput(self) -> float:
        """bit/s of a worker's vector, of the slowest worker."""
        return 8 * self.vector_bytes / self.seconds

    @property
    def worker_goodputs(self) -> NDArray[np.float64]:
        """[workers] bit/s"""
        return 8 * self.vector_bytes / self.worker_seconds

    def contradictions(self) -> list[str]:
        """Counter identities that do not hold; see `docs/protocol.md`."""
        found = []
        # a contribution of each worker, and what the switches send to each other
        below = self.num_workers + 2 * (len(self.switch_counters) - 1)
        for name, right in (
            ("accepted", below * self.num_chunks),
            ("results", len(self.switch_counters) * self.num_chunks),
        ):
            if self.counters[name] != right:
                found.append(f"{name}: {self.counters[name]:,}, expected {right:,}")
        faults = self.faults
        gone = self.dropped + faults["lost"] + faults["caught"] - faults["duplicated"]
        arrived = self.received + sum(self.counters[name] for name in ONCE)
        if arrived != self.packet_hops - gone:
            found.append(
                f"{arrived:,} packets arrived, expected {self.packet_hops - gone:,}"
            )
        if self.checked != self.num_workers * self.num_chunks or self.wrong:
            found.append(
                f"{self.wrong:,} of {self.checked:,} results are wrong, expected 0 of "
                f"{self.num_workers * self.num_chunks:,}"
            )
        return found


def start_counting(world: World, now: float) -> None:
    """Set everything that a report counts to 0."""
    world.switches.counters[:] = 0
    for name in OCCUPANCY.names or ():
        world.switches.occupancy[name] = now if name == "since" else 0
    for name in COUNTED:
        world.air.links[name] = 0
    for name in COUNTS:
        if name != "seen":  # the draws go on from there
            world.air.lines[name] = 0
    workers = world.workers
    for count in (workers.sent, workers.repeated, workers.queries, workers.received):
        count[:] = 0


def new_report(
    world: World, began: float, num_chunks: int, vector_bytes: int, checks: Any
) -> Report:
    """`checks`: [2] wrong results, checked results."""
    workers, links, lines = world.workers, world.air.links, world.air.lines
    seconds = workers.finished - began
    occupancy = world.switches.occupancy
    per_switch = [_named(counts[1]) for counts in world.switches.counters]
    packets = int(links["packets"].sum())
    switch_links = np.ones(links.size, np.bool_)
    switch_links[world.nodes.at_rank] = False  # a host's own
    theirs = links[switch_links]
    waits = theirs["longest_wait"] / np.maximum(theirs["byte_time"], 1e-30)
    return Report(
        num_workers=workers.wake.size,
        num_chunks=num_chunks,
        vector_bytes=vector_bytes,
        seconds=float(seconds.max()),
        worker_seconds=seconds.copy(),
        wrong=int(checks[0]),
        checked=int(checks[1]),
        counters={name: sum(each[name] for each in per_switch) for name in COUNTERS},
        switch_counters=per_switch,
        sent=int(workers.sent.sum()),
        retransmissions=int(workers.repeated.sum()),
        queries=int(workers.queries.sum()),
        received=int(workers.received.sum()),
        packet_hops=packets,
        hop_bytes=int(links["bytes"].sum()),
        dropped=int(links["dropped"].sum()),
        faults={name: int(lines[name].sum()) for name in COUNTS},
        longest_queue=float(waits.max()),
        mean_wait=float(theirs["waited"].sum() / max(theirs["packets"].sum(), 1)),
        slots_held=occupancy["integral"] / seconds.max(),
        most_slots_held=occupancy["most"].copy(),
    )


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(counts[list(which)].sum()) for name, which in COUNTERS.items()}


def bound(rate: float, delay: float, window: int, payload: int, hops: int = 1) -> float:
    """bit/s of payload that one worker can get at most when nothing is lost.

    `delay`: seconds, one way, over `hops` links of `rate` bit/s; `payload`: bytes of a
    full chunk; `window`: chunks outstanding at most. The smaller one of what the rate
    allows, and of a window's chunks in each round trip.
    """
    frame = max(HEADER_BYTES + payload + OVERHEAD_BYTES, SMALLEST_FRAME)
    round_trip = 2 * (delay + hops * 8 * frame / rate)
    return min(rate * payload / frame, 8 * window * payload / round_trip)
