"""The I/O shell of the emulated switch: UDP socket, clock, loop, signals."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from switch.addresses import Addresses, Table
from switch.compiled import kernel
from switch.config import (
    Address,
    FaultConfig,
    JobConfig,
    LinkFaults,
    SwitchConfig,
)
from switch.control import Control
from switch.messages import (
    Inlet,
    Outlet,
    Receiver,
    Sender,
    receive_rows,
    send_trains,
)
from switch.pipeline import Pipeline, Plane, next_due, pass_through
from switch.protocol import (
    MAX_WORKERS,
    ElementType,
    Opcode,
    Reduction,
    emit,
    kind_of,
)
from switch.service import ControlService
from switch.system import POLL, POLL_IN, clock, poll, sched_yield
from switch.tap import PcapTap
from switch.udp import Integers, couple, open_socket, reaches_groups

BATCH_DATAGRAMS = 8  # read at once: half a megabyte stays in the L2 cache
# The kernel reports twice what it grants, and charges small packets double.
OVERHEAD = 4
# Seconds. After its last packet a switch looks for more before it sleeps, and lets
# others run meanwhile: to be woken costs as much as a train does. (Ten times as long,
# and the kernel leaves a worker waiting for one core while we look on the other.)
PATIENCE = 2e-5
LONGEST_TURN = 1e-3  # seconds without a look at what else there is to do
SHORTEST_WAIT = 1e-3  # seconds that can be slept, as `poll` counts
LONGEST_WAIT = 500  # milliseconds; a signal that comes before the wait is seen after it

# Places in Wire.polled: packets; the end; somebody who wants the lock.
DATA, STOP, WANTED = range(3)


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
    polled: Any
    """[3] records of `switch.system.POLL`."""


@kernel
def await_packets(wire: Wire, milliseconds: int) -> bool:
    """Whether there are packets, and nothing else to do; waits for either."""
    polled = wire.polled
    if poll(polled.ctypes.data, polled.size, np.int32(milliseconds)) <= 0:
        return False
    return bool(polled[STOP]["returned"] == 0 and polled[WANTED]["returned"] == 0)


@kernel
def send_copies(wire: Wire, table: Table) -> bool:
    """Send the copies of a batch; False if the kernel refused one."""
    out, outlet = wire.plane.out, wire.outlet
    count = couple(out.rows, out.used[0], outlet.most[0], wire.open_train, wire.trains)
    sent = send_trains(outlet, wire.trains, count, table.names.ctypes.data)
    wire.progress[0], wire.progress[1] = count, sent
    return sent == count


@kernel
def serve_batches(wire: Wire, table: Table, milliseconds: int) -> int:
    """Process packets, waiting so long for the next; -errno if receiving fails.

    Returns when there is something else to do, at the latest after LONGEST_TURN of
    work, or when the kernel refuses to send, with the rest of what is to be sent in
    `wire`.
    """
    room = wire.inlet.room
    began = heard = clock(room)
    while True:
        count = receive_rows(wire.inlet, table)
        if count < 0:
            return count
        now = clock(room)
        due = next_due(wire.plane)
        if count > 0 or due <= now:
            heard = now
            copies = pass_through(wire.plane, wire.inlet.rows, count, now)
            if copies > 0 and not send_copies(wire, table):
                return 0
        elif now - heard <= PATIENCE or due - now < SHORTEST_WAIT:
            sched_yield()
        elif await_packets(wire, int(min(milliseconds, 1e3 * (due - now)))):
            began = heard = clock(room)
        else:
            return 0
        if now - began > LONGEST_TURN and not await_packets(wire, 0):
            return 0


class DataLock:
    """Held by the data path as long as nobody else wants it; others use `with`.

    It goes to who waits for it, not back to who has just let go of it.
    """

    def __init__(self) -> None:
        self.wanted = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        """Readable while somebody wants or has it who is not the data path."""
        self._lock = threading.Lock()
        self._next = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """For the data path."""
        with self._next:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def __enter__(self) -> None:
        os.eventfd_write(self.wanted, 1)
        with self._next:
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        os.eventfd_read(self.wanted)
        self._lock.release()

    def close(self) -> None:
        os.close(self.wanted)


class DataPath:
    """Socket to pipeline to socket. `lock` is held while packets are processed."""

    def __init__(self, sock: socket.socket, pipeline: Pipeline) -> None:
        self.sock = sock
        self.pipeline = pipeline
        self.lock = DataLock()
        self.receiver = Receiver(sock, BATCH_DATAGRAMS)
        self.sender = Sender(sock, pipeline.out.buffer)
        self.wire = Wire(
            self.receiver.inlet,
            pipeline.plane,
            self.sender.outlet,
            np.zeros(MAX_WORKERS, np.int64),
            np.zeros((pipeline.out.rows.size, 4), np.int64),
            np.zeros(2, np.int64),
            np.zeros(3, POLL),
        )
        self.wire.polled["descriptor"] = sock.fileno(), -1, self.lock.wanted
        self.wire.polled["events"] = POLL_IN
        self.unsent = 0
        """Packets that the kernel refused to send."""

    def close(self) -> None:
        """The socket stays open: it is the caller's."""
        self.lock.close()

    def turn(self, milliseconds: int = 0) -> None:
        """Process what has arrived, and what follows; wait so long for the next."""
        with self.lock.held():
            known = self.pipeline.known
            if len(known.table.names) > self.wire.open_train.size:
                more = np.zeros(2 * len(known.table.names), np.int64)
                self.wire = self.wire._replace(open_train=more)
            if self.pipeline.tap is not None:
                due = next_due(self.wire.plane) < time.monotonic() + 1e-3 * milliseconds
                if await_packets(self.wire, 1 if due else milliseconds) or due:
                    self._turn_traced(known)
                return
            error = serve_batches(self.wire, known.table, milliseconds)
            self._send_rest(known)
        if error < 0:
            self.receiver.note(-error)

    def _turn_traced(self, known: Addresses) -> None:
        """One batch, with Python looking on."""
        count = self.receiver.receive(known)
        now = time.monotonic()
        if count > 0 or next_due(self.wire.plane) <= now:
            self.pipeline.run(self.receiver.rows, count, now)
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
    with (
        open_socket((config.address, config.port)) as sock,
        closing(DataPath(sock, pipeline)) as path,
    ):
        address: Address = sock.getsockname()[:2]
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        bound = replace(config, port=address[1])
        control = Control(
            bound,
            pipeline,
            receive_bytes=granted // OVERHEAD,
            # a copy of its own for everyone who may lose it
            multicast=not config.faults.any("outward") and reaches_groups(sock),
        )
        service = ControlService(
            control,
            path.lock,
            *address,
            parent=config.parent,
            security=config.security,
        )
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
    polled = path.wire.polled
    polled[STOP]["descriptor"], polled[STOP]["returned"] = stop, 0
    while not polled[STOP]["returned"]:
        path.turn(LONGEST_WAIT)


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
        faulty = FaultConfig(
            inward=LinkFaults(loss=1e-9), outward=LinkFaults(loss=1e-9)
        )
        config = SwitchConfig(num_slots=1, jobs=(job,), faults=faulty)
        kind = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
        packet = emit(
            opcode=Opcode.CONTRIBUTE, job=1, worker=0, sequence=0,
            kind=kind, element_count=1, payload=b"\1",
        )  # fmt: skip
        sock.sendto(packet, sock.getsockname())
        select.select([sock], [], [])
        with closing(DataPath(sock, Pipeline(config))) as path:
            path.turn()
