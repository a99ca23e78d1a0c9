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
from typing import BinaryIO, NamedTuple

import numpy as np

from switch.addresses import Addresses, Table
from switch.compiled import kernel
from switch.config import Address, FaultConfig, JobConfig, SwitchConfig
from switch.control import Control
from switch.messages import (
    Inlet,
    Outlet,
    Receiver,
    Sender,
    receive_rows,
    send_trains,
)
from switch.pipeline import Pipeline, Plane, pass_through
from switch.protocol import (
    MAX_WORKERS,
    ElementType,
    Opcode,
    Reduction,
    emit,
    kind_of,
)
from switch.service import ControlService
from switch.system import clock, sched_yield
from switch.tap import PcapTap
from switch.udp import MAX_ROWS, Integers, couple, open_socket, reaches_groups

BATCH_DATAGRAMS = 8  # read at once: half a megabyte stays in the L2 cache
# The kernel reports twice what it grants, and charges small packets double.
OVERHEAD = 4
# Seconds. After its last packet a switch looks for more before it sleeps, and lets
# others run meanwhile: to be woken costs as much as a train does. (Ten times as long,
# and the kernel leaves a worker waiting for one core while we look on the other.)
PATIENCE = 2e-5
LONGEST_TURN = 5e-3  # seconds until the control plane may do something


class Wire(NamedTuple):
    """Socket, pipeline, socket: what kernels need to serve."""

    inlet: Inlet
    plane: Plane
    outlet: Outlet
    open_train: Integers
    """[numbers of addresses]"""
    trains: Integers
    """[packets of a batch, 4] what is being sent; see `udp.couple`."""
    progress: Integers
    """[2] trains in `trains`, and how many of them have been sent."""


@kernel
def send_copies(wire: Wire, table: Table) -> bool:
    """Send the copies of a batch; False if the kernel refused one."""
    out, outlet = wire.plane.out, wire.outlet
    count = couple(out.rows, out.used[0], outlet.most[0], wire.open_train, wire.trains)
    sent = send_trains(outlet, wire.trains, count, table.names.ctypes.data)
    wire.progress[0], wire.progress[1] = count, sent
    return sent == count


@kernel
def serve_batches(wire: Wire, table: Table) -> int:
    """Process packets as long as they come; -errno if receiving fails.

    Stops after PATIENCE without any, after LONGEST_TURN, or when the kernel refuses to
    send, with the rest of what is to be sent in `wire`.
    """
    room = wire.inlet.room
    began = heard = clock(room)
    while True:
        count = receive_rows(wire.inlet, table)
        if count < 0:
            return count
        now = clock(room)
        if count > 0:
            heard = now
            copies = pass_through(wire.plane, wire.inlet.rows, count)
            if copies > 0 and not send_copies(wire, table):
                return 0
        elif now - heard > PATIENCE:
            return 0
        else:
            sched_yield()
        if now - began > LONGEST_TURN:
            return 0


class FairLock:
    """A lock that goes to who waits for it, not back to who has just let go of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class DataPath:
    """Socket to pipeline to socket. `lock` is held while packets are processed."""

    def __init__(self, sock: socket.socket, pipeline: Pipeline) -> None:
        self.sock = sock
        self.pipeline = pipeline
        self.lock = FairLock()
        self.receiver = Receiver(sock, BATCH_DATAGRAMS)
        self.sender = Sender(sock, pipeline.out.buffer)
        self.wire = Wire(
            self.receiver.inlet,
            pipeline.plane,
            self.sender.outlet,
            np.zeros(MAX_WORKERS, np.int64),
            np.zeros((MAX_ROWS * MAX_WORKERS, 4), np.int64),
            np.zeros(2, np.int64),
        )
        self.unsent = 0
        """Packets that the kernel refused to send."""

    def turn(self) -> None:
        """Process what has arrived, and what follows at once."""
        with self.lock:
            known = self.pipeline.known
            if len(known.table.names) > self.wire.open_train.size:
                more = np.zeros(2 * len(known.table.names), np.int64)
                self.wire = self.wire._replace(open_train=more)
            if self.pipeline.tap is not None:
                self._turn_traced(known)
                return
            error = serve_batches(self.wire, known.table)
            self._send_rest(known)
        if error < 0:
            self.receiver.note(-error)

    def _turn_traced(self, known: Addresses) -> None:
        """One batch, with Python looking on."""
        count = self.receiver.receive(known)
        if count > 0:
            self.pipeline.run(self.receiver.rows, count)
            send_copies(self.wire, known.table)
            self._send_rest(known)

    def _send_rest(self, known: Addresses) -> None:
        """What the kernel refused, in other ways. What it refuses again counts as lost
        on the way; the workers ask again."""
        count, sent = self.wire.progress
        if sent < count:
            self.unsent += self.sender.send(self.wire.trains[sent:count], known)
            self.wire.progress[:] = 0


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
        control = Control(
            bound,
            pipeline,
            receive_bytes=granted // OVERHEAD,
            # a copy of its own for everyone who may lose it
            multicast=config.faults.loss_out == 0 and reaches_groups(sock),
        )
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

    One real aggregation, by a process that is its own worker.
    """
    with open_socket(("127.0.0.1", 0)) as sock:
        job = JobConfig(job=1, workers=(sock.getsockname(),), num_slots=1, slot_bytes=4)
        faulty = FaultConfig(loss_in=1e-9, loss_out=1e-9)
        path = DataPath(
            sock, Pipeline(SwitchConfig(num_slots=1, jobs=(job,), faults=faulty))
        )
        kind = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
        packet = emit(
            opcode=Opcode.CONTRIBUTE, job=1, worker=0, sequence=0,
            kind=kind, element_count=1, payload=b"\1",
        )  # fmt: skip
        sock.sendto(packet, sock.getsockname())
        select.select([sock], [], [])
        path.turn()
