"""Ethernet frames around packets: IPv4 and UDP, made right, and judged when they come.

For targets that see frames rather than sockets. No options, no fragments, no VLAN.
"""

from __future__ import annotations

import ipaddress
import struct

from intswitch.conformance.target import Violation
from switch.admission import text_of
from switch.config import Address
from switch.tap import ipv4_checksum

IPV4, UDP = 0x0800, 17
ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES = 14, 20, 8
TIME_TO_LIVE = 64


def frame_of(
    packet: bytes, source: Address, destination: Address, macs: tuple[bytes, bytes]
) -> bytes:
    """`macs`: of the source, of the destination."""
    ends = packed(source) + packed(destination)
    length = UDP_BYTES + len(packet)
    ports = struct.pack("!HHH", source[1], destination[1], length)
    checksum = checksum_of(pseudo_header(ends, length) + ports + b"\0\0" + packet)
    udp = ports + (checksum or 0xFFFF).to_bytes(2, "big") + packet
    fields = (0x45, 0, IPV4_BYTES + length, 0, 0, TIME_TO_LIVE, UDP)
    of_header = ipv4_checksum(struct.pack("!BBHHHBBH", *fields, 0) + ends)
    head = struct.pack("!BBHHHBBH", *fields, of_header) + ends
    return macs[1] + macs[0] + IPV4.to_bytes(2, "big") + head + udp


def is_udp(frame: bytes) -> bool:
    kind = int.from_bytes(frame[12:14], "big")
    return len(frame) >= 42 and kind == IPV4 and frame[23] == UDP


def receiver_of(frame: bytes) -> Address:
    """Of a frame with UDP in it; nothing is judged yet."""
    head_bytes = 4 * (frame[14] & 15)
    port = frame[ETHERNET_BYTES + head_bytes + 2 :][:2]
    return str(ipaddress.IPv4Address(frame[30:34])), int.from_bytes(port, "big")


def packet_in(frame: bytes, switch: Address, mac: bytes, *, summed: bool) -> bytes:
    """The packet, of a frame that `switch` must have sent to the port with this MAC.

    Raises Violation. `summed` False: its UDP checksum was left to hardware.
    """
    head, udp = frame[ETHERNET_BYTES:][:IPV4_BYTES], frame[34:]
    if head[0] != 0x45:
        raise Violation(
            f"an IPv4 header that begins with {head[0]:#04x}: {frame.hex()}"
        )
    length = int.from_bytes(udp[4:6], "big")
    udp = udp[: max(length, UDP_BYTES)]  # behind it: padding of a short frame
    source = str(ipaddress.IPv4Address(head[12:16])), int.from_bytes(udp[:2], "big")
    total = int.from_bytes(head[2:4], "big")
    expected: dict[str, tuple[object, object]] = {
        "destination MAC": (frame[:6].hex(":"), mac.hex(":")),
        "source": (text_of(source), text_of(switch)),
        "IPv4 checksum": ("wrong" if ipv4_checksum(head) else "right", "right"),
        "IPv4 total length": (total, IPV4_BYTES + length),
        "UDP length": (length, len(udp)),
    }
    if summed and length == len(udp):
        expected["UDP checksum"] = (judged(udp, head[12:20]), "right")
    for name, (found, right) in expected.items():
        if found != right:
            text = f"{name}: expected {right}, received {found}"
            raise Violation(f"{text}, in the frame {frame.hex()}")
    return udp[UDP_BYTES:]


def judged(udp: bytes, ends: bytes) -> str:
    """What its checksum is."""
    if udp[6:8] == b"\0\0":
        return "none"
    return "wrong" if checksum_of(pseudo_header(ends, len(udp)) + udp) else "right"


def packed(address: Address) -> bytes:
    return ipaddress.IPv4Address(address[0]).packed


def pseudo_header(ends: bytes, length: int) -> bytes:
    return ends + struct.pack("!BBH", 0, UDP, length)


def checksum_of(data: bytes) -> int:
    """The Internet checksum of bytes of any length."""
    return ipv4_checksum(data + b"\0" * (len(data) % 2))
