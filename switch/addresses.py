"""UDP addresses as the kernel has them, and their numbers: what a port is to a switch.

A number stands for an address wherever packets are handled; here it is found for a
packet's source, by a hash table that kernels can read.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import Address

NAME_BYTES = 32  # room for a struct sockaddr_in6, which has 28
FAMILY_AND_PORT = 4  # bytes
IPV6_AT = 8  # where an IPv6 address begins: flow information comes before it
SMALLEST_TABLE = 64


class Table(NamedTuple):
    """Numbers of addresses, for kernels."""

    names: NDArray[np.uint8]
    """[addresses, NAME_BYTES] sockaddr of each number."""
    buckets: NDArray[np.int64]
    """[a power of two, at least twice the addresses]: a number, or -1; open
    addressing."""


def encode_name(address: Address) -> bytes:
    """The sockaddr of a numeric IP address and a port."""
    packed = ipaddress.ip_address(address[0]).packed
    if len(packed) == 4:
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", address[1])
        return name + packed + bytes(8)
    name = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", address[1], 0)
    return name + packed + bytes(4)


def decode_name(name: bytes) -> Address:
    """The reverse."""
    (family,) = struct.unpack_from("=H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    packed = name[4:8] if family == socket.AF_INET else name[8:24]
    return str(ipaddress.ip_address(packed)), port


def reached_at(data: Address, asked_at: str, own: str) -> Address:
    """Where a switch's data path is, which it says is at `data`.

    One that listens everywhere is at the host that it was asked at (HOST:PORT), by an
    address of the family of `own`.
    """
    if not ipaddress.ip_address(data[0]).is_unspecified:
        return data
    host = asked_at.rpartition(":")[0].strip("[]")
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    found = socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)
    return str(found[0][4][0]), data[1]


@kernel
def hash_name(name: NDArray[np.uint8]) -> int:
    """Of family, port and address: of what `same_name` compares (FNV-1a, 32 bits)."""
    value = 0x811C9DC5
    is_ipv6 = name[0] == socket.AF_INET6
    for at in range(24 if is_ipv6 else 8):
        if at < FAMILY_AND_PORT or not is_ipv6 or at >= IPV6_AT:
            value = ((value ^ int(name[at])) * 0x01000193) & 0xFFFFFFFF
    return value


@kernel
def same_name(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    is_ipv6 = one[0] == socket.AF_INET6
    for at in range(24 if is_ipv6 else 8):
        is_flow = is_ipv6 and FAMILY_AND_PORT <= at < IPV6_AT
        if not is_flow and one[at] != other[at]:
            return False
    return True


@kernel
def find(table: Table, name: NDArray[np.uint8]) -> int:
    """The number of a sockaddr, or -1."""
    mask = table.buckets.size - 1
    at = hash_name(name) & mask
    while table.buckets[at] >= 0:
        number = table.buckets[at]
        if same_name(table.names[number], name):
            return int(number)
        at = (at + 1) & mask
    return -1


class Addresses:
    """Addresses, numbered as they come; a released one leaves its number to others."""

    def __init__(self, known: Iterable[Address] = ()) -> None:
        self.known: list[Address] = []
        """By number. Of a number that is free, the last one that had it."""
        self.number_of: dict[Address, int] = {}
        self._users: dict[Address, int] = {}
        self.table = Table(
            np.zeros((0, NAME_BYTES), np.uint8), np.full(SMALLEST_TABLE, -1, np.int64)
        )
        for address in known:
            self.number(address)

    def number(self, address: Address) -> int:
        """Its number; a new one if it has none. Goes with a `release`."""
        self._users[address] = self._users.get(address, 0) + 1
        if address not in self.number_of:
            free = set(range(len(self.known))) - set(self.number_of.values())
            number = min(free, default=len(self.known))
            self.known[number : number + 1] = [address]
            self.number_of[address] = number
            self._rebuild()
        return self.number_of[address]

    def release(self, address: Address) -> None:
        """One use of the address has ended; with the last one, its number is free."""
        self._users[address] -= 1
        if self._users[address] == 0:
            del self._users[address], self.number_of[address]
            self._rebuild()

    def _rebuild(self) -> None:
        """In new arrays: a kernel that runs meanwhile keeps the old ones."""
        encoded = b"".join(
            encode_name(each).ljust(NAME_BYTES, b"\0") for each in self.known
        )
        names = np.frombuffer(encoded, np.uint8).reshape(-1, NAME_BYTES).copy()
        size = SMALLEST_TABLE
        while size < 2 * len(names):
            size *= 2
        buckets = np.full(size, -1, np.int64)
        for number in self.number_of.values():
            at = hash_name(names[number]) & (size - 1)
            while buckets[at] >= 0:
                at = (at + 1) & (size - 1)
            buckets[at] = number
        self.table = Table(names, buckets)
