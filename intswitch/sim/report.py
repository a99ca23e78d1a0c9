"""What aggregations in virtual time came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.links import OVERHEAD_BYTES, SMALLEST_FRAME
from intswitch.sim.state import OCCUPANCY, World
from intswitch.sim.tree import Layout
from switch.aggregate import COUNTERS
from switch.faults import COUNTS
from switch.protocol import HEADER_BYTES

ONCE = [name for name in COUNTERS if name not in ("results", "copies")]
"""Every packet that reaches a switch is in one of these counters."""
COUNTED = ("packets", "bytes", "dropped", "waited", "longest_wait")


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """One job's aggregation. Virtual seconds; bytes are of UDP payloads."""

    num_workers: int
    num_chunks: int
    vector_bytes: int
    """Of one worker's sum."""
    seconds: float
    """Until the last worker has its last result, but for those left behind."""
    worker_seconds: NDArray[np.float64]
    """[workers] the same for each; inf: left behind."""
    wrong: int
    """Results that were not the exact sum of those who are in them."""
    checked: int
    workers_in: NDArray[np.int64]
    """[chunks] workers in the result of each."""
    missed: NDArray[np.int64]
    """[workers] results that went out without each."""
    partial: int
    """Results that reached workers and have not everybody in them."""
    left_behind: dict[int, int] = field(default_factory=dict)
    """Workers that the others went on without, each with its number of results."""
    lacking: int
    """Contributions, of workers and of switches, that a switch went on without."""
    unfinished: int = 0
    """Slots of an earlier aggregation that lacked their result when this one began: of
    switches with workers that were left behind."""
    counters: dict[str, int]
    """Packets at all switches, by what became of them; see docs/protocol.md."""
    switch_counters: list[dict[str, int]]
    """The same for each switch that the job passes through, the root first."""
    sent: int
    """Packets that the workers sent: contributions and queries."""
    retransmissions: int
    queries: int
    received: int
    """Packets that reached the workers."""
    slots_held: NDArray[np.float64]
    """[switches] slots taken over whose result was not out, mean over the time. Those
    that were passed by count to the end."""
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

    @property
    def arrived(self) -> int:
        """Packets that switches and workers received."""
        return self.received + sum(self.counters[name] for name in ONCE)

    def contradictions(self) -> list[str]:
        """Counter identities that do not hold; see `docs/protocol.md`."""
        found = []
        # a contribution of each worker, and what the switches send to each other
        below = self.num_workers + 2 * (len(self.switch_counters) - 1)
        expected = {
            "accepted": (self.counters, below * self.num_chunks - self.lacking),
            "results": (self.counters, len(self.switch_counters) * self.num_chunks),
        }
        if self.left_behind:  # and with them switches, but the root
            expected = {"results": (self.switch_counters[0], self.num_chunks)}
        for name, (counters, right) in expected.items():
            # the result of an earlier one may have come now
            if not right <= counters[name] <= right + self.unfinished:
                found.append(f"{name}: {counters[name]:,}, expected {right:,}")
        in_time = self.num_workers - len(self.left_behind)
        others = sum(self.left_behind.values())
        results = in_time * self.num_chunks + others
        if self.checked != results or self.wrong:
            found.append(
                f"{self.wrong:,} of {self.checked:,} results are wrong, expected 0 of "
                f"{results:,}"
            )
        lacking = in_time * int((self.workers_in < self.num_workers).sum())
        if not lacking <= self.partial <= lacking + others:
            found.append(f"{self.partial:,} results are partial, expected {lacking:,}")
        return found


@dataclass(frozen=True, kw_only=True)
class LinkReport:
    """What the links have carried."""

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

    def not_so_many(self, arrived: int) -> list[str]:
        """The contradiction where other packets arrived than the links let through."""
        faults = self.faults
        gone = self.dropped + faults["lost"] + faults["caught"] - faults["duplicated"]
        expected = self.packet_hops - gone
        told = f"{arrived:,} packets arrived, expected {expected:,}"
        return [] if arrived == expected else [told]


@dataclass(frozen=True, kw_only=True)
class Report(JobReport, LinkReport):
    """One aggregation of the only job."""

    def contradictions(self) -> list[str]:
        """Counter identities that do not hold; see `docs/protocol.md`."""
        return super().contradictions() + self.not_so_many(self.arrived)


@dataclass(frozen=True, kw_only=True)
class SharedReport(LinkReport):
    """An aggregation of each of several jobs, which share links."""

    jobs: list[JobReport]
    """Seconds are of a job's own start."""

    def contradictions(self) -> list[str]:
        """Counter identities that do not hold, of each job and of all together."""
        found = [
            f"job {number}: {each}"
            for number, job in enumerate(self.jobs)
            for each in job.contradictions()
        ]
        return found + self.not_so_many(sum(job.arrived for job in self.jobs))


def unfinished_slots(world: World) -> int:
    """How many hold a chunk without the job's result of it, at all switches."""
    slots = world.switches.slots
    return int(np.count_nonzero((slots["received"] > 0) & (slots["final"] == 0)))


def start_counting(world: World, now: float) -> None:
    """Set everything that a report counts to 0."""
    world.switches.counters[:] = 0
    world.switches.jobs["missed"] = 0
    world.workers.windows["partial"] = 0
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


def job_figures(
    world: World, layout: Layout, row: int, began: float, num_chunks: int,
    vector_bytes: int, checks: Any,
) -> dict[str, Any]:  # fmt: skip
    """Of a `JobReport`, but for defaults. `row`: of the job; `checks`: [2] wrong
    results, checked ones."""
    workers, own = world.workers, list(layout.members[row])
    switches = [at for at, jobs in enumerate(layout.jobs) if row in jobs]
    seconds = workers.finished[own] - began
    whole = float(seconds[seconds < np.inf].max())
    present, num_workers = world.roll.present, len(own)
    all_are = len(present) == 0
    times = np.full(num_workers, num_chunks) if all_are else present.sum(axis=0)
    occupancy = world.switches.occupancy[switches, 1 + row]
    per_switch = [_named(each) for each in world.switches.counters[switches, 1 + row]]
    return {
        "num_workers": num_workers,
        "num_chunks": num_chunks,
        "vector_bytes": vector_bytes,
        "seconds": whole,
        "worker_seconds": seconds,
        "wrong": int(checks[0]),
        "checked": int(checks[1]),
        "workers_in": (
            np.full(num_chunks, num_workers) if all_are else present.sum(axis=1)
        ),
        "missed": num_chunks - times,
        "partial": int(workers.windows["partial"][own].sum()),
        "lacking": int(world.switches.jobs["missed"][:, row].sum()),
        "counters": {name: sum(each[name] for each in per_switch) for name in COUNTERS},
        "switch_counters": per_switch,
        "sent": int(workers.sent[own].sum()),
        "retransmissions": int(workers.repeated[own].sum()),
        "queries": int(workers.queries[own].sum()),
        "received": int(workers.received[own].sum()),
        "slots_held": occupancy["integral"] / whole,
        "most_slots_held": occupancy["most"].copy(),
    }


def link_figures(world: World) -> dict[str, Any]:
    """Of a `LinkReport`."""
    links, lines = world.air.links, world.air.lines
    switch_links = np.ones(links.size, np.bool_)
    switch_links[world.nodes.at_rank] = False  # a host's own
    theirs = links[switch_links]
    waits = theirs["longest_wait"] / np.maximum(theirs["byte_time"], 1e-30)
    return {
        "packet_hops": int(links["packets"].sum()),
        "hop_bytes": int(links["bytes"].sum()),
        "dropped": int(links["dropped"].sum()),
        "faults": {name: int(lines[name].sum()) for name in COUNTS},
        "longest_queue": float(waits.max()),
        "mean_wait": float(theirs["waited"].sum() / max(theirs["packets"].sum(), 1)),
    }


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
