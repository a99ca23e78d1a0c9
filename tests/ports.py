"""Ports of loopback: each test process takes them from a share of its own."""

import os
import socket

PORTS = range(10_000, 32_000)
"""Below those that Linux gives to whoever binds to port 0."""


class Share:
    """Of pytest-xdist's processes, or of the only one. Goes round, so that a port whose
    test has just ended is not given to the next."""

    def __init__(self) -> None:
        processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        size = len(PORTS) // processes
        self.ports = PORTS[number * size : (number + 1) * size]
        self.next = os.getpid() * 101 % size  # another run's processes start elsewhere

    def take(self, count: int) -> list[int]:
        for _ in range(len(self.ports) // count):
            if self.next + count > len(self.ports):
                self.next = 0
            taken = list(self.ports[self.next : self.next + count])
            self.next += count
            if all(is_free(port) for port in taken):
                return taken
        raise AssertionError(f"no {count} free ports in a row in {self.ports}")


def is_free(port: int) -> bool:
    """For UDP and TCP."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(type=kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


_share = Share()


def free_ports(count: int) -> list[int]:
    """In a row; nothing was bound to them a moment ago."""
    return _share.take(count)


def free_port() -> int:
    return _share.take(1)[0]
