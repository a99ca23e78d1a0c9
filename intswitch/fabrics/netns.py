"""Every host and every switch in a network namespace: real stacks, real cables.

worker0 eth0 ---- port0 switch1 port2 ---- port0 switch2 ...
worker1 eth0 ---- port1

Each end of a cable has the one address of its host or switch, and routes for what is
behind the other end; switches forward what is not for them (gloo's traffic, say).

A cable has its rate, and where the kernel has netem its delay, for whatever goes over
it. What happens to packets by chance happens at the switches' ports, where it repeats
with the seed; netem would also take a train of packets, which is one to it, as one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from intswitch.fabrics.emulated import Emulated
from intswitch.fabrics.namespaces import End, Namespaces
from intswitch.topology import LinkPart, Topology

SHORTEST_QUEUE = 1 << 17  # bytes: hosts and switches send trains of up to 64 KiB
MOST_QUEUED = (1 << 32) - 1  # bytes: the kernel counts with 32 bits, bytes/s, too
RATES = (2e3, 34e9)  # bit/s
WITHOUT_NETEM = (
    "this kernel has no netem: links' delays are kept at the switches' ports, and other"
    " programs' packets (gloo's) have none"
)


class Netns(Emulated):
    """See `Emulated`."""

    name = "netns"
    cannot = ()
    first_host = IPv4Address("10.0.0.1")
    first_switch = IPv4Address("10.255.0.1")
    environment = {"GLOO_SOCKET_IFNAME": "eth0"}  # noqa: RUF012 - is not changed

    def __init__(self, topology: Topology, **options: Any) -> None:
        refuse_links(topology.links)
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
        if any(
            link.to(end).delay for link in self.topology.links for end in link.between
        ):
            self.cables_delay = self.namespaces.can_delay(next(iter(self.addresses)))
            if not self.cables_delay:
                self.status(WITHOUT_NETEM)
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
            is_switch = here.namespace in self.topology.switches
            namespaces.shape(
                here,
                delay=link.to(there.namespace).delay if self.cables_delay else 0.0,
                rate=link.rate,
                queue=link.queue if is_switch else None,
            )

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


def refuse_links(links: Sequence[LinkPart]) -> None:
    """Raise ValueError, a line each, for rates and queues that no cable can have."""
    mistakes = []
    for number, link in enumerate(links):
        wrong = f"links.{number}.queue {link.queue} B: the netns fabric"
        if link.queue is not None and link.rate is None:
            mistakes.append(f"{wrong} has queues where links have a rate: give it one")
        elif link.queue is not None and link.queue < SHORTEST_QUEUE:
            mistakes.append(
                f"{wrong} sends up to 64 KiB at once, and needs 128 KiB or more; sim"
                " can do with less"
            )
        elif link.queue is not None and link.queue > MOST_QUEUED:
            mistakes.append(f"{wrong} has queues of 4 GiB at most")
        if link.rate is not None and not RATES[0] <= link.rate <= RATES[1]:
            mistakes.append(
                f"links.{number}.rate {link.rate:g} bit/s: the netns fabric has rates"
                " from 2 kbit/s to 34 Gbit/s; sim has any"
            )
    if mistakes:
        raise ValueError("\n".join(mistakes))
