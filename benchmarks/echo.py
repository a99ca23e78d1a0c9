"""The limit: UDP trains (GSO/GRO) to a server and back, and nothing done with them."""

import select
import socket
import sys

import numpy as np

from switch.config import Address
from switch.protocol import HEADER_BYTES
from switch.udp import ANCILLARY_BYTES, DATAGRAM_BYTES, Receiver, Sender, open_socket

PACKET_BYTES = HEADER_BYTES + 1024
TRAIN_PACKETS = 60
TRAIN_BYTES = TRAIN_PACKETS * PACKET_BYTES
TRAINS_IN_FLIGHT = 8  # about the window of an all-reduce


def serve() -> None:
    """Send every datagram back as it came, until killed. Prints its port."""
    sock = open_socket(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    receiver = Receiver(sock)
    sender = Sender(sock, receiver.rows.buffer)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while True:
        poll.poll()
        for index, view in enumerate(receiver.views):
            try:
                size, _, _, address = sock.recvmsg_into(
                    view, ANCILLARY_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                break
            sender.send(index * DATAGRAM_BYTES, size, PACKET_BYTES, address)


class Echo:
    """One worker's end."""

    def __init__(self, server: Address) -> None:
        self.sock = open_socket(("127.0.0.1", 0))
        self.sock.connect(server)
        self.sender = Sender(self.sock, np.zeros(TRAIN_BYTES, np.uint8))
        self.view = Receiver(self.sock, 1).views[0]

    def exchange(self, payload_bytes: int) -> None:
        """Send so many bytes of payload, in trains, and wait for them to come back."""
        trains = -(-payload_bytes // (TRAIN_PACKETS * (PACKET_BYTES - HEADER_BYTES)))
        sent = 0
        for returned in range(trains):
            while sent < min(trains, returned + TRAINS_IN_FLIGHT):
                self.sender.send(0, TRAIN_BYTES, PACKET_BYTES)
                sent += 1
            self.sock.recvmsg_into(self.view, ANCILLARY_BYTES)


if __name__ == "__main__":
    sys.exit(serve())
