"""Raw Ethernet as a wire, for targets whose ports see frames (AF_PACKET, needs root).

The target must know the workers' MACs, those of the interfaces: nobody answers ARP.
"""

from __future__ import annotations

import errno
import fcntl
import selectors
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from intswitch.conformance import frames
from intswitch.conformance.script import Datagram
from intswitch.conformance.target import Places, Skip
from switch.config import Address

GET_MAC = 0x8927  # SIOCGIFHWADDR
SOL_PACKET, AUXDATA = 263, 8
CHECKSUM_NOT_READY = 1 << 3  # in the status of the auxiliary data
LARGEST = 65535
EVERYWHERE = ""
"""Key of the interface for workers that are at none of their own."""


@dataclass(frozen=True)
class Port:
    """One interface."""

    sock: socket.socket
    mac: bytes


class EthernetWire:
    """A raw socket for each interface; workers are told apart by their address."""

    def __init__(self, interfaces: Mapping[str, str], switch_mac: bytes) -> None:
        """`interfaces`: IP address of a worker, or EVERYWHERE -> name."""
        self.interfaces = interfaces
        self.switch_mac = switch_mac
        self.ports: dict[str, Port] = {}
        self.places: Places = {}
        self.selector = selectors.DefaultSelector()

    def open(self, places: Places) -> Places:
        self.places = with_ports(places)
        for host, _ in self.places.values():
            if host not in self.interfaces and EVERYWHERE not in self.interfaces:
                raise ValueError(f"--interface: none is named for the address {host}")
        if not self.ports:  # to close a raw socket takes the kernel long: keep them
            for name in dict.fromkeys(self.interfaces.values()):
                self.ports[name] = open_port(name)
                self.selector.register(
                    self.ports[name].sock, selectors.EVENT_READ, name
                )
        for port in self.ports.values():
            forget(port.sock)
        return dict(self.places)

    def aim(self, switch: Address) -> None:
        self.switch = switch

    def send(self, packet: bytes, source: Address) -> None:
        place = self.places[source]
        port = self.port_of(place)
        frame = frames.frame_of(packet, place, self.switch, (port.mac, self.switch_mac))
        try:
            port.sock.send(frame)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise Skip(f"a frame of {len(frame)} bytes is too long here") from None

    def receive(self, until: float) -> list[Datagram]:
        """Frames to other addresses than the workers' are not looked at."""
        received: list[Datagram] = []
        while not received:
            ready = self.selector.select(max(0.0, until - time.monotonic()))
            for key, _ in ready:
                received += self.take(self.ports[key.data])
            if not ready:
                break
        return received

    def take(self, port: Port) -> list[Datagram]:
        """All that lies in one socket."""
        received: list[Datagram] = []
        workers = {place: address for address, place in self.places.items()}
        while True:
            try:
                frame, notes, _, _ = port.sock.recvmsg(LARGEST, 256)
            except BlockingIOError:
                return received
            if not frames.is_udp(frame) or frames.receiver_of(frame) not in workers:
                continue
            place = frames.receiver_of(frame)
            mac = self.port_of(place).mac
            packet = frames.packet_in(frame, self.switch, mac, summed=is_summed(notes))
            received.append((packet, workers[place]))

    def port_of(self, place: Address) -> Port:
        default = self.interfaces.get(EVERYWHERE, "")
        return self.ports[self.interfaces.get(place[0], default)]

    def close(self) -> None:
        for port in self.ports.values():
            port.sock.close()
        self.ports.clear()
        self.selector.close()
        self.selector = selectors.DefaultSelector()


def with_ports(places: Places) -> Places:
    """With ports that are free, for those who asked for any."""
    taken, complete = set(places.values()), {}
    for address, (host, port) in places.items():
        if port == 0:
            port = next(p for p in range(65535, 0, -1) if (host, p) not in taken)
            taken.add((host, port))
        complete[address] = host, port
    return complete


def forget(sock: socket.socket) -> None:
    """What lies in the socket was for the script before."""
    with suppress(BlockingIOError):
        while True:
            sock.recv(1)


def open_port(interface: str) -> Port:
    try:  # no protocol yet: nothing comes before it is bound to the interface
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise PermissionError(
            f"--interface {interface}: raw frames need root (CAP_NET_RAW)"
        ) from None
    try:
        sock.bind((interface, frames.IPV4))
        sock.setsockopt(SOL_PACKET, AUXDATA, 1)
        sock.setblocking(False)
        request = struct.pack("256s", interface.encode()[:15])
        mac = fcntl.ioctl(sock.fileno(), GET_MAC, request)[18:24]
    except OSError as error:
        sock.close()
        raise OSError(f"--interface {interface}: {error.strerror}") from None
    return Port(sock, mac)


def is_summed(notes: list[tuple[int, int, bytes]]) -> bool:
    """Whether the sender's kernel has computed the UDP checksum: between two veth it
    leaves that to hardware that is not there."""
    for level, kind, data in notes:
        if (level, kind) == (SOL_PACKET, AUXDATA):
            return not int.from_bytes(data[:4], sys.byteorder) & CHECKSUM_NOT_READY
    return True
