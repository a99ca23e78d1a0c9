"""Packet traces: every packet in and out of a pipeline, as a pcap file.

The pipeline sees UDP payloads alone, so IP and UDP headers are made up around them
from the addresses (link type RAW; UDP checksum 0, which says "none").
"""

import ipaddress
import struct
from collections.abc import Callable
from typing import BinaryIO, Protocol

from switch.config import Address
from switch.replicate import Copies
from switch.udp import Rows

LINKTYPE_RAW = 101  # a packet begins with its IP header
NANOSECOND_MAGIC = 0xA1B23C4D
UDP = 17
UNKNOWN: Address = ("0.0.0.0", 0)  # the sender is nobody's worker


class Tap(Protocol):
    """Sees every packet at the pipeline's boundary: packet traces."""

    def on_receive(self, rows: Rows, count: int, addresses: list[Address]) -> None: ...
    def on_send(self, out: Copies, addresses: list[Address]) -> None: ...


class PcapTap:
    """Writes what it sees to `file`; `now` gives nanoseconds since 1970.

    Costs microseconds a packet: for looking at traffic, not for measuring it.
    """

    def __init__(self, file: BinaryIO, switch: Address, now: Callable[[], int]) -> None:
        self.file = file
        self.switch = switch
        self.now = now
        header = (NANOSECOND_MAGIC, 2, 4, 0, 0, 1 << 16, LINKTYPE_RAW)
        file.write(struct.pack("=IHHiIII", *header))

    def on_receive(self, rows: Rows, count: int, addresses: list[Address]) -> None:
        """Packets in, before any fault."""
        for row in range(count):
            start, length = int(rows.offset[row]), int(rows.length[row])
            number = int(rows.source[row])
            source = addresses[number] if number >= 0 else UNKNOWN
            payload = rows.buffer[start : start + length].tobytes()
            self._write(payload, source, self.switch)

    def on_send(self, out: Copies, addresses: list[Address]) -> None:
        """Copies out, after the faults."""
        for copy in out.rows[: out.used[0]]:
            end = copy["offset"] + copy["length"]
            payload = out.buffer[copy["offset"] : end].tobytes()
            self._write(payload, self.switch, addresses[copy["destination"]])

    def _write(self, payload: bytes, source: Address, destination: Address) -> None:
        packet = wrap(payload, source, destination)
        seconds, nanoseconds = divmod(self.now(), 10**9)
        size = len(packet)
        self.file.write(struct.pack("=IIII", seconds, nanoseconds, size, size) + packet)


def wrap(payload: bytes, source: Address, destination: Address) -> bytes:
    """IP and UDP headers around a payload."""
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", source[1], destination[1], length, 0)
    to = ipaddress.ip_address(destination[0])
    if source == UNKNOWN and to.version == 6:
        source = ("::", 0)
    addresses = ipaddress.ip_address(source[0]).packed + to.packed
    if to.version == 6:
        head = struct.pack("!IHBB", 6 << 28, length, UDP, 64)
        return head + addresses + udp + payload
    fields = (0x45, 0, 20 + length, 0, 0, 64, UDP)
    checksum = ipv4_checksum(struct.pack("!BBHHHBBH", *fields, 0) + addresses)
    head = struct.pack("!BBHHHBBH", *fields, checksum)
    return head + addresses + udp + payload


def ipv4_checksum(header: bytes) -> int:
    """RFC 1071 over a header whose checksum field is 0."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
