"""Switches and workers as processes on this machine, real UDP on loopback."""

from __future__ import annotations

from ipaddress import IPv4Address

from intswitch.fabrics.emulated import Emulated
from intswitch.topology import Topology

# The loopback interface has 2^24 addresses: one for every host, and every switch.
FIRST_HOST = IPv4Address("127.1.0.1")
FIRST_SWITCH = IPv4Address("127.0.0.1")


class Loopback(Emulated):
    """See `Emulated`."""

    name = "loopback"
    port = 0
    # or gloo looks up the machine's name, which may lead anywhere
    environment = {"GLOO_SOCKET_IFNAME": "lo"}  # noqa: RUF012 - is not changed

    def addresses_of(self, topology: Topology) -> dict[str, str]:
        hosts = {name: FIRST_HOST + n for n, name in enumerate(topology.hosts)}
        switches = {name: FIRST_SWITCH + n for n, name in enumerate(topology.switches)}
        return {name: str(address) for name, address in (hosts | switches).items()}
