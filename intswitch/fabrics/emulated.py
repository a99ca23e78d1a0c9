"""Emulated switches, one process each, and what all fabrics of such have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from intswitch.child import Child
from intswitch.fabrics.course import Event
from intswitch.fabrics.fabric import ENVIRONMENT, Fabric
from intswitch.switch_process import Switch
from intswitch.topology import JobPart, Topology
from switch.protocol import DEFAULT_PORT


class Emulated(Fabric):
    """A topology at work: switches start from the root downward, and workers join at
    the switch that their host is at."""

    trees = True
    first_host: IPv4Address
    first_switch: IPv4Address
    """The others' addresses follow."""
    port = DEFAULT_PORT
    """Of every switch; 0: any free one."""
    environment: Mapping[str, str] = {}
    """Of the workers."""
    cables_delay = False
    """Whether links have their delay without the switches."""

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        self.addresses = self.addresses_of(topology)
        """IP of every host and switch."""
        self.switches: dict[str, Switch] = {}

    def addresses_of(self, topology: Topology) -> dict[str, str]:
        """IP of every host and switch."""
        hosts = {name: self.first_host + n for n, name in enumerate(topology.hosts)}
        switches = {
            name: self.first_switch + n for n, name in enumerate(topology.switches)
        }
        return {name: str(address) for name, address in (hosts | switches).items()}

    def enter(self, name: str) -> Sequence[str]:
        """What to put before a command that is to run at a host or switch."""
        return ()

    def endpoint_of(self, host: str) -> str:
        return self.switches[self.topology.switch_of(host)].endpoint

    @property
    def others(self) -> list[Child]:
        return [each.child for each in self.switches.values() if each.child]

    def start(self) -> None:
        self.status("starting switch and workers")
        # Workers first: they import torch while the switch gets ready.
        for worker, host in self.seats():
            command = [*self.enter(host), *self.worker]
            child = Child(worker, command, ENVIRONMENT | self.environment)
            self.workers.append(child)
        for name, parent in self.topology.tree().items():
            self.switches[name] = self._switch(name, parent)
            self.switches[name].start()

    def _switch(self, name: str, parent: str | None) -> Switch:
        part = self.topology.switches[name]
        above = {} if parent is None else {"parent": self.switches[parent].endpoint}
        topology = self.topology
        if self.cables_delay:
            topology = topology.without_delay()
        return Switch(
            self.addresses[name],
            self.port,
            name="the switch" if len(self.topology.switches) == 1 else f"switch {name}",
            enter=self.enter(name),
            status=self.status,
            rule=part.rule,
            num_slots=part.num_slots,
            slot_bytes=part.slot_bytes,
            faults=json.dumps(topology.faults_at(name, self.addresses)),
            insecure=True,  # who reaches it is of this fabric
            **above,
        )

    def stop(self) -> None:
        for switch in self.switches.values():
            switch.close()

    def join_options(self, job: JobPart, rank: int, num_workers: int) -> Event:
        bind = self.addresses[job.workers[rank]]
        return super().join_options(job, rank, num_workers) | {"bind": bind}
