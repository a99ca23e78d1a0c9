"""Ethernet frames around the packets of this protocol: made, and checked."""

import struct
from dataclasses import dataclass

from switch.tap import ipv4_checksum

IPV4, ARP, UDP = 0x0800, 0x0806, 17
ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES = 14, 20, 8
ARP_REQUEST, ARP_REPLY = 1, 2
BROADCAST = 2**48 - 1


@dataclass(frozen=True)
class End:
    """One end of a conversation."""

    mac: int
    address: str
    port: int = 0

    @property
    def ipv4(self) -> bytes:
        return bytes(map(int, self.address.split(".")))


@dataclass(frozen=True)
class Udp:
    """A UDP datagram in a frame; the defaults are what is right."""

    source: End
    destination: End
    payload: bytes
    checksum: int | None = None
    """None: the right one."""
    length: int | None = None
    options: bytes = b""
    fragment: int = 0
    padding: bytes = b""
    ip_checksum_error: int = 0

    def frame(self) -> bytes:
        udp = self.datagram()
        words = 5 + len(self.options) // 4
        head = struct.pack(
            "!BBHHHBBH",
            0x40 | words,
            0,
            4 * words + len(udp),
            1,
            self.fragment,
            64,
            UDP,
            0,
        )
        head += self.source.ipv4 + self.destination.ipv4 + self.options
        checksum = ipv4_checksum(head) ^ self.ip_checksum_error
        head = head[:10] + checksum.to_bytes(2, "big") + head[12:]
        return ethernet(self.source, self.destination, IPV4, head + udp + self.padding)

    def datagram(self) -> bytes:
        length = UDP_BYTES + len(self.payload) if self.length is None else self.length
        ports = struct.pack("!HHH", self.source.port, self.destination.port, length)
        checksum = self.checksum
        if checksum is None:
            whole = pseudo_header(self.source.ipv4, self.destination.ipv4, length)
            checksum = sum_of(whole + ports + b"\0\0" + self.payload) or 0xFFFF
        return ports + checksum.to_bytes(2, "big") + self.payload


def ethernet(source: End, destination: End, kind: int, rest: bytes) -> bytes:
    macs = destination.mac.to_bytes(6, "big") + source.mac.to_bytes(6, "big")
    return macs + kind.to_bytes(2, "big") + rest


def pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    return source + destination + struct.pack("!BBH", 0, UDP, length)


def sum_of(data: bytes) -> int:
    """The Internet checksum of bytes of any length."""
    return ipv4_checksum(data + b"\0" * (len(data) % 2))


def arp_request(sender: End, wanted: str) -> bytes:
    """Who has `wanted`?"""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, ARP_REQUEST)
    asked = End(0, wanted)
    rest = head + sender.mac.to_bytes(6, "big") + sender.ipv4 + bytes(6) + asked.ipv4
    return ethernet(sender, End(BROADCAST, wanted), ARP, rest)


def type_of(frame: bytes) -> int:
    return int.from_bytes(frame[12:14], "big")


def is_arp_reply(frame: bytes) -> bool:
    return type_of(frame) == ARP and frame[20:22] == ARP_REPLY.to_bytes(2, "big")


def read_udp(frame: bytes) -> tuple[End, End, bytes]:
    """Source, destination and payload of a datagram that is right in every respect."""
    assert type_of(frame) == IPV4
    head, udp = frame[14:34], frame[34:]
    assert head[0] == 0x45, "options"
    assert ipv4_checksum(head) == 0, "IPv4 checksum"
    assert head[8] == 64, "time to live"
    assert head[9] == UDP
    length = int.from_bytes(udp[4:6], "big")
    assert length == len(udp), "bytes behind the datagram, or too few"
    assert int.from_bytes(head[2:4], "big") == IPV4_BYTES + length
    assert udp[6:8] != b"\0\0", "no UDP checksum"
    assert sum_of(pseudo_header(head[12:16], head[16:20], length) + udp) == 0, "UDP"
    source, destination = (
        End(
            int.from_bytes(mac, "big"),
            ".".join(map(str, address)),
            int.from_bytes(port, "big"),
        )
        for mac, address, port in (
            (frame[6:12], head[12:16], udp[0:2]),
            (frame[0:6], head[16:20], udp[2:4]),
        )
    )
    return source, destination, udp[UDP_BYTES:]
