"""Switches and workers as processes on this machine, real UDP on loopback."""

from __future__ import annotations

from ipaddress import IPv4Address

from intswitch.fabrics.emulated import Emulated


class Loopback(Emulated):
    """See `Emulated`."""

    name = "loopback"
    # the loopback interface has 2^24 addresses: one for every host, and every switch
    first_host = IPv4Address("127.1.0.1")
    first_switch = IPv4Address("127.0.0.1")
    port = 0
    # or gloo looks up the machine's name, which may lead anywhere
    environment = {"GLOO_SOCKET_IFNAME": "lo"}  # noqa: RUF012 - is not changed
