"""UDP sockets as a wire: one for each worker of a script, and one for the stranger."""

from __future__ import annotations

import errno
import selectors
import socket
import time

from host.channel import split_address
from intswitch.conformance.script import Datagram
from intswitch.conformance.target import Places, Skip, Violation
from switch.admission import numeric, text_of
from switch.config import Address

LARGEST = 65535


class UdpWire:
    """Unconnected sockets: an answer from a wrong address is to be seen, not lost."""

    def __init__(self) -> None:
        self.sockets: dict[Address, socket.socket] = {}
        self.selector = selectors.DefaultSelector()

    def open(self, places: Places) -> Places:
        self.close()
        for address, place in places.items():
            sock = socket.socket(family_of(place), socket.SOCK_DGRAM)
            self.sockets[address] = sock
            try:
                sock.bind(place)
            except OSError as error:
                raise OSError(f"{text_of(place)}: {error.strerror}") from None
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, address)
        return {
            address: sock.getsockname()[:2] for address, sock in self.sockets.items()
        }

    def aim(self, switch: Address) -> None:
        self.switch = numeric(switch)

    def send(self, packet: bytes, source: Address) -> None:
        try:
            self.sockets[source].sendto(packet, self.switch)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise Skip(
                f"a packet of {len(packet)} bytes is longer than the path takes"
            ) from None

    def receive(self, until: float) -> list[Datagram]:
        left = max(0.0, until - time.monotonic())
        received: list[Datagram] = []
        for key, _ in self.selector.select(left):
            received += self.take(key.data)
        return received

    def take(self, address: Address) -> list[Datagram]:
        """All that lies in one socket."""
        received: list[Datagram] = []
        while True:
            try:
                packet, source = self.sockets[address].recvfrom(LARGEST)
            except BlockingIOError:
                return received
            if numeric(source[:2]) != self.switch:
                raise Violation(
                    f"a packet came from {text_of(source[:2])}, not from the switch at "
                    f"{text_of(self.switch)}: {packet.hex()}"
                )
            received.append((packet, address))

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()
        self.sockets.clear()
        self.selector.close()
        self.selector = selectors.DefaultSelector()


def family_of(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def address_of(endpoint: str, worker: Address | None = None) -> Address:
    """HOST:PORT as numbers, of the worker's version of IP. Raises ValueError."""
    host, port = split_address(endpoint)
    family = family_of(worker) if worker else socket.AF_UNSPEC
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
    except OSError as error:
        raise ValueError(f"switch address {endpoint}: {error.strerror}") from error
    return str(found[0][4][0]), port


def own_address(endpoint: str) -> str:
    """The address that packets to the switch would come from. Sends nothing."""
    switch = address_of(endpoint)
    with socket.socket(family_of(switch), socket.SOCK_DGRAM) as sock:
        sock.connect(switch)
        return str(sock.getsockname()[0])


def listens(endpoint: str, timeout: float) -> bool:
    """Whether anybody does, at the TCP port of this number."""
    try:
        socket.create_connection(split_address(endpoint), timeout).close()
    except OSError:
        return False
    return True
