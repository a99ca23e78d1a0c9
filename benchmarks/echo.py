"""The limit: UDP trains (GSO/GRO) to a server and back, and nothing done with them."""

import struct
import sys

from switch.config import Address
from switch.protocol import HEADER_BYTES
from switch.udp import DATAGRAM_BYTES, SOL_UDP, UDP_SEGMENT, open_socket

PACKET_BYTES = HEADER_BYTES + 1024
TRAIN_PACKETS = 60
TRAIN_BYTES = TRAIN_PACKETS * PACKET_BYTES
TRAINS_IN_FLIGHT = 8  # about the window of an all-reduce


SEGMENTED = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", PACKET_BYTES))]


def serve() -> None:
    """Send every datagram back as it came, until killed. Prints its port."""
    sock = open_socket(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    buffer = memoryview(bytearray(DATAGRAM_BYTES))
    while True:
        size, _, _, address = sock.recvmsg_into([buffer])
        sock.sendmsg([buffer[:size]], SEGMENTED, 0, address)


class Echo:
    """One worker's end."""

    def __init__(self, server: Address) -> None:
        self.sock = open_socket(("127.0.0.1", 0))
        self.sock.connect(server)
        self.buffer = memoryview(bytearray(DATAGRAM_BYTES))

    def exchange(self, payload_bytes: int) -> None:
        """Send so many bytes of payload, in trains, and wait for them to come back."""
        trains = -(-payload_bytes // (TRAIN_PACKETS * (PACKET_BYTES - HEADER_BYTES)))
        train = [self.buffer[:TRAIN_BYTES]]
        sent = 0
        for returned in range(trains):
            while sent < min(trains, returned + TRAINS_IN_FLIGHT):
                self.sock.sendmsg(train, SEGMENTED)
                sent += 1
            self.sock.recvmsg_into([self.buffer])


if __name__ == "__main__":
    sys.exit(serve())
