"""Switch and workers as processes on this machine, real UDP on loopback."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

from intswitch.child import Child
from intswitch.fabrics.fabric import ENVIRONMENT, Event, Fabric
from intswitch.switch_process import Switch
from intswitch.topology import Topology

# or gloo looks up the machine's name, which may lead anywhere
GLOO = {"GLOO_SOCKET_IFNAME": "lo"}
FIRST_ADDRESS = IPv4Address("127.0.1.1")


class Loopback(Fabric):
    """A topology at work."""

    name = "loopback"

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        self.addresses = {host: address_of(n) for n, host in enumerate(topology.hosts)}
        """The loopback interface has 2^24 of them: one for every host."""
        ((name, part),) = topology.switches.items()
        self.switch = Switch(
            port=0,
            status=self.status,
            rule=part.rule,
            num_slots=part.num_slots,
            slot_bytes=part.slot_bytes,
            faults=json.dumps(topology.faults_at(name, self.addresses)),
        )

    @property
    def endpoint(self) -> str:
        return self.switch.endpoint

    @property
    def others(self) -> list[Child]:
        return [self.switch.child] if self.switch.child else []

    def start(self) -> None:
        self.status("starting switch and workers")
        # Workers first: they import torch while the switch gets ready.
        for rank in range(self.num_workers):
            child = Child(f"worker {rank}", self.worker, ENVIRONMENT | GLOO)
            self.workers.append(child)
        self.switch.start()

    def join_options(self, rank: int, num_workers: int) -> Event:
        bind = self.addresses[self.job.workers[rank]]
        return super().join_options(rank, num_workers) | {"bind": bind}

    def stop(self) -> None:
        self.switch.close()


def address_of(number: int) -> str:
    """IPv4 of a host."""
    return str(FIRST_ADDRESS + number)
