"""The I/O shell of the emulated switch: UDP socket, clock, loop, signals."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import BinaryIO

import numpy as np

from switch.compiled import plain
from switch.config import Address, FaultConfig, JobConfig, SwitchConfig
from switch.control import Control
from switch.messages import Receiver, Sender
from switch.pipeline import Pipeline
from switch.protocol import (
    MAX_WORKERS,
    ElementType,
    Opcode,
    Reduction,
    emit,
    kind_of,
)
from switch.replicate import Copies
from switch.service import ControlService
from switch.tap import PcapTap
from switch.udp import (
    MAX_ROWS,
    couple,
    open_socket,
)

BATCH_DATAGRAMS = 16
# The kernel reports twice what it grants, and charges small packets double.
OVERHEAD = 4


class DataPath:
    """Socket to pipeline to socket. `lock` is held while a batch is processed."""

    def __init__(self, sock: socket.socket, pipeline: Pipeline) -> None:
        self.sock = sock
        self.pipeline = pipeline
        self.lock = threading.Lock()
        self.receiver = Receiver(sock, BATCH_DATAGRAMS)
        self.sender = Sender(sock, pipeline.out.buffer)
        self.copies = plain(pipeline.out.rows)
        self.trains = np.zeros((MAX_ROWS * MAX_WORKERS, 4), np.int64)
        self.open_train = np.zeros(MAX_WORKERS, np.int64)
        self.unsent = 0
        """Packets that the kernel refused to send."""

    def turn(self) -> None:
        """Process what has arrived."""
        count = self.receiver.receive(self.pipeline.number_of)
        if count > 0:
            with self.lock:
                out = self.pipeline.run(self.receiver.rows, count)
            self._send(out)

    def _send(self, out: Copies) -> None:
        addresses = self.pipeline.addresses
        if len(addresses) > self.open_train.size:
            self.open_train = np.zeros(2 * len(addresses), np.int64)
        count = couple(self.copies, out.used[0], self.open_train, self.trains)
        # as if lost on the way; the workers ask again
        self.unsent += self.sender.send(self.trains[:count], addresses)


@contextmanager
def open_switch(config: SwitchConfig) -> Iterator[tuple[DataPath, Address]]:
    """Both sockets of a switch, and its control plane at work; call `loop` for data.

    Raises OSError if an address cannot be used, ValueError if the fixed jobs do not
    fit.
    """
    pipeline = Pipeline(config)
    with open_socket((config.address, config.port)) as sock:
        address: Address = sock.getsockname()[:2]
        path = DataPath(sock, pipeline)
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        bound = replace(config, port=address[1])
        control = Control(bound, pipeline, receive_bytes=granted // OVERHEAD)
        service = ControlService(control, path.lock, *address)
        service.start()
        try:
            yield path, address
        finally:
            service.stop()


def serve(
    config: SwitchConfig,
    *,
    ready: Callable[[Address], None] | None = None,
    trace: BinaryIO | None = None,
) -> dict[str, int]:
    """Run a switch until SIGINT or SIGTERM; its counters.

    `ready` is called with the address once every kernel is compiled and both sockets
    are open. Every packet in and out is written to `trace`, as pcap. Raises as
    `open_switch` does.
    """
    warm_up()
    with stop_signals() as stop, open_switch(config) as (path, address):
        if trace is not None:
            path.pipeline.tap = PcapTap(trace, address, time.time_ns)
        if ready is not None:
            ready(address)
        loop(path, stop)
    return path.pipeline.counters()


def loop(path: DataPath, stop: int) -> None:
    """Turn whenever packets have come, until `stop` (an eventfd) is written to."""
    poll = select.poll()
    poll.register(path.sock, select.POLLIN)
    poll.register(stop, select.POLLIN)
    while True:
        ready = poll.poll()
        if any(which == stop for which, _ in ready):
            return
        path.turn()


@contextmanager
def stop_signals() -> Iterator[int]:
    """An eventfd that SIGINT and SIGTERM write to."""
    stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def on_signal(number: int, frame: FrameType | None) -> None:
        os.eventfd_write(stop, 1)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        os.close(stop)


def warm_up() -> None:
    """Compile every kernel of the data path, or load it from the cache.

    One real aggregation, whose result the process sends to itself.
    """
    address = ("127.0.0.1", 1)
    job = JobConfig(job=1, workers=(address,), num_slots=1, slot_bytes=4)
    faulty = FaultConfig(loss_in=1e-9, loss_out=1e-9)
    pipeline = Pipeline(SwitchConfig(num_slots=1, jobs=(job,), faults=faulty))
    kind = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
    packet = emit(
        opcode=Opcode.CONTRIBUTE, job=1, worker=0, sequence=0,
        kind=kind, element_count=1, payload=b"\1",
    )  # fmt: skip
    pipeline.process([(packet, address)])
    trains = np.zeros((1, 4), np.int64)
    couple(plain(pipeline.out.rows), 1, np.zeros(1, np.int64), trains)
    with open_socket(("127.0.0.1", 0)) as sock:
        receiver = Receiver(sock)
        Sender(sock, pipeline.out.buffer).send(trains, [sock.getsockname()])
        while receiver.receive({}) == 0:
            select.select([sock], [], [])
