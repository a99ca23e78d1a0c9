"""Workers as processes, and the network between them in virtual time.

Only links are simulated; see `intswitch.sim`. What a worker computes takes real time,
what it communicates takes the time that it would on the topology's links.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from intswitch.child import Child
from intswitch.fabrics.course import Event
from intswitch.fabrics.fabric import ENVIRONMENT, Fabric
from intswitch.sim.from_topology import tree_of_job
from intswitch.sim.meeting import Meeting, Seat
from intswitch.sim.simulation import FAST, Simulation
from intswitch.topology import JobPart, Topology
from switch.protocol import Overflow, Rule


class Sim(Fabric):
    """A topology at work."""

    name = "sim"
    cannot = ()
    trees = True
    several = False

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        (job,) = topology.jobs
        if job.straggler_timeout > 0:
            raise ValueError(
                f"jobs.0.straggler_timeout {job.straggler_timeout:g} s: the sim"
                " fabric's switches wait for everybody (loopback's and netns' need not)"
            )
        self.tree, self.cables = tree_of_job(topology, job)
        self.num_workers = len(job.workers)
        rules = {part.rule for part in topology.switches.values()}
        if len(rules) > 1:
            raise ValueError("switches: the sim fabric has one rule for all of them")
        self.rule = Rule[rules.pop().upper()]
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.meeting: Meeting | None = None

    def endpoint_of(self, host: str) -> str:
        """Path of the simulator's Unix socket."""
        assert self.folder is not None
        return str(Path(self.folder.name) / "simulator")

    @property
    def others(self) -> list[Child]:
        return []

    def start(self) -> None:
        self.status("starting workers")
        self.folder = tempfile.TemporaryDirectory(prefix="intswitch-sim-")
        self.meeting = Meeting(Path(self.endpoint_of("")), self.build)
        for worker, _ in self.seats():
            own = {"GLOO_SOCKET_IFNAME": "lo"}
            self.workers.append(Child(worker, self.worker, ENVIRONMENT | own))

    def stop(self) -> None:
        if self.meeting is not None:
            self.meeting.close()
        if self.folder is not None:
            self.folder.cleanup()

    def build(self, seat: Seat) -> Simulation:
        """The simulation of a job: of all workers, or of one that warms up alone."""
        options = dict(seat.options)
        options["overflow"] = Overflow[options["overflow"].upper()]
        threshold = options.pop("packet_threshold")
        everybody = seat.num_workers == self.num_workers
        return Simulation(
            tree=self.tree if everybody else tuple(range(seat.num_workers)),
            cables=self.cables if everybody else {},
            rule=self.rule,
            seed=self.topology.seed,
            recovery=FAST._replace(packet_threshold=threshold),
            **options,
        )

    def join_options(self, job: JobPart, rank: int, num_workers: int) -> Event:
        options = super().join_options(job, rank, num_workers)
        del options["timeout"], options["straggler_timeout"]
        return options | {"simulator": options.pop("address")}
