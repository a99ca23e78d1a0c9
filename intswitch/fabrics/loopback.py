"""Switch and workers as processes on this machine, real UDP on loopback."""

from __future__ import annotations

from typing import Any

from intswitch.child import Child
from intswitch.fabrics.fabric import ENVIRONMENT, Fabric
from intswitch.switch_process import Switch
from intswitch.topology import Topology

# or gloo looks up the machine's name, which may lead anywhere
GLOO = {"GLOO_SOCKET_IFNAME": "lo"}


class Loopback(Fabric):
    """A topology at work."""

    name = "loopback"

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        (part,) = topology.switches.values()
        loss = topology.links[0].loss
        self.switch = Switch(
            port=0,
            status=self.status,
            rule=part.rule,
            num_slots=part.num_slots,
            slot_bytes=part.slot_bytes,
            loss_in=loss,
            loss_out=loss,
            fault_seed=topology.seed,
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

    def stop(self) -> None:
        self.switch.close()
