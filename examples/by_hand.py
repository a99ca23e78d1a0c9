"""Two packets by hand: plain Python sockets, no library of ours.

    intswitch switch examples/switch.yaml      # in one terminal
    python examples/by_hand.py                 # in another, as often as you like

Each run asks the switch where its job stands, and adds with the sequence that follows.
"""

import argparse
import socket
import struct
import sys

HEADER = struct.Struct("!BBHHHIHbB")
CONTRIBUTE, RESULT, QUERY, STATUS = 0x10, 0x11, 0x12, 0x13  # format 1, then the opcode
SUM_OF_INT32 = 0 << 6 | 2 << 3 | 2  # reduction, element type, result type
EVERY_WORKER = 0xFFFF
NO_EXPONENT = -128
ANSWER_WITHIN = 2.0  # seconds

JOB, NUM_SLOTS, NUM_WORKERS = 7, 8, 2  # as in switch.yaml


def packet(opcode: int, worker: int, sequence: int, elements: list[int]) -> bytes:
    """A header of 16 bytes and 32-bit elements, all of it big-endian."""
    kind = SUM_OF_INT32 if opcode == CONTRIBUTE else 0
    header = HEADER.pack(
        opcode,
        kind,
        JOB,
        worker,
        EVERY_WORKER,
        sequence,
        len(elements),
        NO_EXPONENT,
        0,  # flags
    )
    return header + struct.pack(f"!{len(elements)}i", *elements)


def answer(worker: socket.socket) -> bytes:
    try:
        return worker.recv(2048)
    except (TimeoutError, ConnectionRefusedError):
        host, port = worker.getpeername()
        sys.exit(
            f"no answer from {host}:{port}. Is the switch running, with this job?\n"
            "    intswitch switch examples/switch.yaml"
        )


def next_sequence(worker: socket.socket) -> int:
    """Where slot 0 of the job goes on: the switch says what it holds.

    A job numbers its chunks 0, 1, 2, ... and chunk c lies in slot c modulo NUM_SLOTS,
    in two versions in turn. This example uses one of them, so it is the next there.
    """
    worker.send(packet(QUERY, 0, 0, []))
    opcode, _, _, received, _, held, *_ = HEADER.unpack(answer(worker)[:16])
    assert opcode == STATUS
    is_complete = received == NUM_WORKERS
    return (held + 2 * NUM_SLOTS) % 2**32 if is_complete else held


def main() -> None:
    parser = argparse.ArgumentParser(description="add two vectors through a switch")
    parser.add_argument("--port", type=int, default=48864, help="of the switch")
    parser.add_argument(
        "--workers", type=int, nargs=2, default=[5001, 5002], help="their ports"
    )
    arguments = parser.parse_args()

    workers = []
    for port in arguments.workers:
        worker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        worker.bind(("127.0.0.1", port))
        worker.connect(("127.0.0.1", arguments.port))
        worker.settimeout(ANSWER_WITHIN)
        workers.append(worker)

    sequence = next_sequence(workers[0])
    workers[0].send(packet(CONTRIBUTE, 0, sequence, [1, 2, 3]))
    workers[1].send(packet(CONTRIBUTE, 1, sequence, [10, 20, 30]))
    for rank, worker in enumerate(workers):
        result = answer(worker)
        opcode, _, _, count, _, sequence, element_count, *_ = HEADER.unpack(result[:16])
        assert opcode == RESULT
        total = list(struct.unpack(f"!{element_count}i", result[16:]))
        print(f"worker {rank}: chunk {sequence}, sum over {count} workers: {total}")


if __name__ == "__main__":
    main()
