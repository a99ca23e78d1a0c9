"""Network namespaces and the cables between them, by pyroute2. Needs root.

To BMv2, interfaces behave like cables with a packet a frame: no offload joins packets,
and checksums are on the wire, because a switch in software sees what is on the wire.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.ethtool import Ethtool
from pyroute2.netlink.exceptions import NetlinkError

PREFIX_BITS = 24
HOST_BITS = 32
SMALLEST_BURST = 1 << 16  # bytes; a train of packets goes through as one
LONGEST_BURST = 1e-3  # seconds at the full rate
LONGEST_QUEUE = "50ms"
ROOT_QUEUE, SECOND_QUEUE = 0x10000, 0x20000  # handles of an interface's queues
ON_ITS_WAY = 1 << 20  # packets that a link may delay at a time
TICK = 1e-6  # seconds; what netem's delay is counted in
REMOVALS, PAUSE = 20, 0.1  # tries, and seconds between them
OFFLOADS = (
    "tx-checksum-ip-generic", "rx-checksum", "rx-gro", "tx-generic-segmentation",
    "tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-gso-list",
)  # fmt: skip


@dataclass(frozen=True)
class End:
    """One end of a cable. Without an address it is a port of a switch."""

    namespace: str
    interface: str
    address: str | None = None
    """IPv4."""
    mac: str | None = None


class Namespaces:
    """Those of one fabric. Their names say for which process they are.

    A process of their own, the keeper, makes them all and removes them all: when it is
    told to, or when this process has been killed, even while it waits for one.
    """

    def __init__(self) -> None:
        self.prefix = f"intswitch-{os.getpid()}-{secrets.token_hex(2)}"
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, self.prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )

    def close(self) -> None:
        """Remove them, and with them their interfaces. Safe to call twice."""
        self._keeper.communicate()
        remove_all(self.prefix)  # if the keeper has been killed

    def add(self, name: str) -> None:
        """Raises OSError."""
        assert self._keeper.stdin
        assert self._keeper.stdout
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write(f"{name}\n".encode())
        answer = self._keeper.stdout.readline().decode().strip()
        if answer != name:
            reason = answer or "the process that makes them has ended"
            raise OSError(f"network namespaces: {reason}")
        with self.opened(name) as stack:
            (index,) = stack.link_lookup(ifname="lo")
            stack.link("set", index=index, state="up")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[IPRoute]:
        """This thread is in the namespace during the `with` block.

        (pyroute2's NetNS would be shorter, but forks this process, with all it has.)
        """
        netns.pushns(f"{self.prefix}-{name}")
        try:
            with IPRoute() as stack:
                yield stack
        finally:
            netns.popns()

    def enter(self, name: str) -> list[str]:
        """What to put before a command that is to run there."""
        return ["ip", "netns", "exec", f"{self.prefix}-{name}"]

    def connect(self, one: End, other: End, *, on_a_wire: bool = True) -> None:
        """A veth pair. `on_a_wire`: a packet a frame, with its checksum; else frames
        as large as the stacks at both ends like them.
        """
        with self.opened(one.namespace) as stack:
            peer = {
                "ifname": other.interface,
                "net_ns_fd": f"{self.prefix}-{other.namespace}",
            }
            stack.link("add", ifname=one.interface, kind="veth", peer=peer)
        for end in (one, other):
            self._bring_up(end, PREFIX_BITS if on_a_wire else HOST_BITS)
            if on_a_wire:
                with self.opened(end.namespace):
                    _as_on_a_wire(end.interface)

    def route(self, end: End, gateway: str, networks: Iterable[str]) -> None:
        """What is at the other end of a cable, and what is reached through it."""
        with self.opened(end.namespace) as stack:
            (index,) = stack.link_lookup(ifname=end.interface)
            stack.route("add", dst=f"{gateway}/32", oif=index, scope="link")
            for network in networks:
                stack.route("add", dst=network, oif=index, gateway=gateway)

    def forward(self, name: str) -> None:
        """Let a namespace forward packets that are not its own."""
        with self.opened(name):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def can_delay(self, name: str) -> bool:
        """Whether this kernel has netem: tried on the namespace's loopback interface.

        Many have it as a module, which they load when it is asked for.
        """
        with self.opened(name) as stack:
            (index,) = stack.link_lookup(ifname="lo")
            try:
                stack.tc("add", "netem", index, ROOT_QUEUE)
            except NetlinkError:
                return False
            stack.tc("del", index=index, root=True)
            return True

    def shape(
        self, end: End, *, delay: float = 0.0, rate: float | None = None,
        queue: float | None = None,
    ) -> None:  # fmt: skip
        """What leaves at an end is under way for `delay` seconds (netem), and goes at
        `rate` bit/s at most (a token bucket), for which `queue` bytes may wait.

        Without `queue`, as much waits as goes out in LONGEST_QUEUE.
        """
        with self.opened(end.namespace) as stack:
            (index,) = stack.link_lookup(ifname=end.interface)
            place: dict[str, int] = {"handle": ROOT_QUEUE}
            ticks = round(delay / TICK)
            if ticks:
                stack.tc("add", "netem", index, **place, delay=ticks, limit=ON_ITS_WAY)
                place = {"handle": SECOND_QUEUE, "parent": ROOT_QUEUE + 1}
            if rate is not None:
                burst = max(int(rate / 8 * LONGEST_BURST), SMALLEST_BURST)
                waits = (
                    {"latency": LONGEST_QUEUE} if queue is None else {"limit": queue}
                )
                stack.tc(
                    "add",
                    "tbf",
                    index,
                    **place,
                    rate=int(rate / 8),
                    burst=burst,
                    **waits,
                )

    def _bring_up(self, end: End, prefix_bits: int) -> None:
        with self.opened(end.namespace) as stack:
            (index,) = stack.link_lookup(ifname=end.interface)
            if end.mac is not None:
                stack.link("set", index=index, address=end.mac)
            if end.address is not None:
                stack.addr(
                    "add", index=index, address=end.address, prefixlen=prefix_bits
                )
            stack.link("set", index=index, state="up")


def _as_on_a_wire(interface: str) -> None:
    """Offloads off; and no neighbour discovery, which nobody asked for."""
    ethtool = Ethtool()
    try:
        features = ethtool.get_features(interface)
        for name in OFFLOADS:
            if name in features.features:
                features.features[name].enable = False
        ethtool.set_features(interface, features)
    finally:
        ethtool.close()
    switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


def remove_all(prefix: str) -> list[str]:
    """Remove the namespaces whose names begin with it. Returns those that are left."""
    ours = [name for name in netns.listnetns() if name.startswith(f"{prefix}-")]
    for name in ours:
        with contextlib.suppress(OSError):
            netns.remove(name)
    return sorted(set(ours) & set(netns.listnetns()))


def main() -> None:
    """The keeper: make what is asked for, a name a line, and remove it in the end.

    Our parent may have been killed, so this process does it in any case.
    """
    prefix = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin:
        name = line.strip()
        try:
            netns.create(f"{prefix}-{name}")
        except OSError as error:
            name = f"{name}: {error.strerror or error}"
        with contextlib.suppress(BrokenPipeError):
            print(name, flush=True)
    for _ in range(REMOVALS):
        left = remove_all(prefix)
        if not left:
            return
        time.sleep(PAUSE)
    print(f"still there; ip netns delete {' '.join(left)}", file=sys.stderr)


if __name__ == "__main__":
    main()
