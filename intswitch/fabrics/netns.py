"""Every host and every switch in a network namespace: real stacks, real cables.

worker0 eth0 ---- port0 switch1 port2 ---- port0 switch2 ...
worker1 eth0 ---- port1

Each end of a cable has the one address of its host or switch, and routes for what is
behind the other end; switches forward what is not for them (gloo's traffic, say).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from intswitch.fabrics.emulated import Emulated
from intswitch.fabrics.namespaces import End, Namespaces
from intswitch.topology import LinkPart, Topology


class Netns(Emulated):
    """See `Emulated`."""

    name = "netns"
    cannot = ()
    first_host = IPv4Address("10.0.0.1")
    first_switch = IPv4Address("10.255.0.1")
    environment = {"GLOO_SOCKET_IFNAME": "eth0"}  # noqa: RUF012 - is not changed

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        self.parents = topology.tree()
        self.parents.update({host: topology.switch_of(host) for host in topology.hosts})
        self.namespaces: Namespaces | None = None

    @classmethod
    def missing(cls) -> list[str]:
        is_root = os.geteuid() == 0
        return [] if is_root else ["network namespaces need root: sudo, or run as root"]

    def enter(self, name: str) -> Sequence[str]:
        assert self.namespaces
        return self.namespaces.enter(name)

    def start(self) -> None:
        self.namespaces = Namespaces()
        for name in self.addresses:
            self.namespaces.add(name)
        for name in self.topology.switches:
            self.namespaces.forward(name)
        for number, link in enumerate(self.topology.links):
            self._connect(self.namespaces, number, link)
        super().start()

    def stop(self) -> None:
        super().stop()
        if self.namespaces is not None:
            self.namespaces.close()

    def _connect(self, namespaces: Namespaces, number: int, link: LinkPart) -> None:
        ends = [self._end(name, number) for name in link.between]
        namespaces.connect(*ends, on_a_wire=False)
        for here, there in (ends, ends[::-1]):
            routes = self._behind(here.namespace, there.namespace)
            namespaces.route(here, str(there.address), routes)
            if link.rate is not None:
                namespaces.limit(here, link.rate)

    def _end(self, name: str, number: int) -> End:
        """A host has one link, a switch a port for each."""
        interface = f"port{number}" if name in self.topology.switches else "eth0"
        return End(name, interface, self.addresses[name])

    def _behind(self, here: str, there: str) -> list[str]:
        """The networks that `here` reaches through `there`; all, if that is above."""
        if self.parents[here] == there:
            return ["0.0.0.0/0"]
        below = [name for name in self.addresses if self._leads(there, name)]
        return [f"{self.addresses[name]}/32" for name in below if name != there]

    def _leads(self, top: str, name: str) -> bool:
        """Whether `name` is `top`, or below it."""
        at: str | None = name
        while at is not None and at != top:
            at = self.parents[at]
        return at == top
