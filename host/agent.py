"""What runs beside a worker: join a job, and the network over its socket."""

import socket
from contextlib import ExitStack
from types import TracebackType

from host.access import Access
from host.channel import split_address
from host.codes import check_kind
from host.collectives import AggregationOverflow, Collectives
from host.controller import Lateness, join_job
from host.fixed_job import FixedPlace, Place
from host.packetizer import Stream
from host.recovery import PATIENT, Recovery, with_threshold
from host.transport import AggregationError, LeftBehind, Statistics, Transport
from switch.codes import Table
from switch.protocol import HEADER_BYTES
from switch.udp import hears_groups, open_group, open_socket

__all__ = [
    "AggregationError",
    "AggregationOverflow",
    "LeftBehind",
    "Network",
    "Statistics",
    "join",
]


def join(
    address: str,
    *,
    job: str,
    rank: int,
    num_workers: int,
    timeout: float = 30.0,
    bind: str | None = None,
    mtu: int = 1500,
    num_slots: int = 512,
    slot_bytes: int = 1024,
    overflow: str = "detect",
    code4: Table | None = None,
    code8: Table | None = None,
    straggler_timeout: float = 0.0,
    packet_threshold: int = 0,
    access: Access | None = None,
) -> "Network":
    """Join a job at the switch, and wait until all its workers have.

    `address` is the switch's HOST:PORT, `bind` this worker's own IP address (default:
    the one that the route to the switch has), `mtu` in bytes. All workers give the same
    `num_workers`, `num_slots` (a power of two), `slot_bytes`, `overflow` (wrap,
    saturate, detect) and code tables: the 16 integers that code4 stands for, the 256 of
    code8, if such codes are to be summed; `num_workers` times the largest must fit an
    int32. `straggler_timeout`: seconds after which a result goes out without workers
    that are late (0: never), see `sum_of_some`. `packet_threshold`: see `Recovery`;
    workers may differ. `access`: None takes what the environment says. Raises
    ValueError, ConnectionError, TimeoutError (which names the missing ranks) or
    JoinRefused, with the switch's reason.
    """
    recovery = with_threshold(packet_threshold)
    host, port = split_address(address)
    with ExitStack() as undone:
        sock = open_socket((bind or _own_address(host, port), 0))
        undone.callback(sock.close)
        _check_mtu(mtu, slot_bytes, sock.getsockname()[0])
        membership = join_job(
            address, job=job, rank=rank, num_workers=num_workers,
            data_address=sock.getsockname()[:2], num_slots=num_slots,
            slot_bytes=slot_bytes, overflow=overflow, code4=code4, code8=code8,
            timeout=timeout, multicast=hears_groups(sock.getsockname()[:2]),
            straggler_timeout=straggler_timeout, access=access,
        )  # fmt: skip
        undone.callback(membership.close)
        sock.connect(membership.switch)
        network = Network(sock, membership, job, recovery)
        undone.pop_all()
        return network


def _check_mtu(mtu: int, slot_bytes: int, own: str) -> None:
    ip_header = 40 if ":" in own else 20
    largest = mtu - ip_header - 8 - HEADER_BYTES
    if slot_bytes > largest:
        raise ValueError(
            f"slot_bytes {slot_bytes}: an MTU of {mtu} leaves room for {largest}"
        )


def attach(place: FixedPlace, data: str) -> "Network":
    """The network of a worker whose job is in its switch's file, which nobody joins.

    `data` is this worker's HOST:PORT in that file. Nobody is told when another worker
    dies: an aggregation that cannot end for it ends with the network's `timeout`.
    Raises ValueError, or OSError if the address cannot be used.
    """
    sock = open_socket(split_address(data))
    try:
        sock.connect(split_address(place.switch))
        return Network(sock, place, f"job {place.job}")
    except BaseException:
        sock.close()
        raise


def _own_address(host: str, port: int) -> str:
    """The address that packets to the switch would come from. Sends nothing."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ValueError(f"switch address {host}:{port}: {error.strerror}") from error
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


class Network(Collectives):
    """One worker's place in a job at a switch. See `Collectives` for what it can do."""

    def __init__(
        self,
        sock: socket.socket,
        membership: Place,
        job: str,
        recovery: Recovery = PATIENT,
    ) -> None:
        self.rank = membership.rank
        self.num_workers = membership.num_workers
        self.num_slots = membership.num_slots
        self.slot_bytes = membership.slot_bytes
        self.code4 = membership.code4
        """What the codes of code4 stand for, 16 integers; None: no such table."""
        self.code8 = membership.code8
        """The same for code8, 256 integers."""
        self.address: str = sock.getsockname()[0]
        """This worker's own IP address."""
        self.timeout = 300.0
        """Seconds that one aggregation may take, waiting for others included."""
        self._sock = sock
        self._membership = membership
        self._group = None
        if membership.group is not None:
            self._group = open_group(membership.group, sock.getpeername()[:2])
        self._transport = Transport(sock, self._group, membership, job, recovery)

    @property
    def statistics(self) -> Statistics:
        return self._transport.statistics

    @property
    def chunks(self) -> int:
        """How many chunks this job's aggregations have had so far."""
        return self._transport.chunks

    @property
    def dead(self) -> tuple[int, ...]:
        """Ranks that are known to be gone without leaving."""
        return self._membership.dead

    @property
    def accepted_per_chunk(self) -> int:
        """What this worker's switch counts as accepted for a chunk: a contribution of
        each of its children, and the result of the switch above."""
        return len(self._membership.behind) + self._membership.is_below

    def aggregate(self, stream: Stream) -> None:
        """See `Collectives`.

        Raises AggregationError when it cannot end: a worker or the switch is gone, or
        `timeout` has passed; ValueError, before anything is sent, if it sums codes for
        which the job has no table, or in a result type too narrow for the table.
        """
        check_kind(stream.kind, self.code4, self.code8, self.num_workers)
        self._transport.aggregate(stream, self.timeout)

    def counters(self) -> dict[str, int]:
        """What became of this job's packets at the switch; see docs/protocol.md.

        Raises ConnectionError when the switch does not answer.
        """
        return self._membership.counters()

    def lateness(self) -> list[Lateness]:
        """How late each worker of the job is, as its switch has seen it.

        Raises ConnectionError when the switch does not answer.
        """
        return self._membership.lateness()

    def rejoin_at(self, chunks: int) -> None:
        """After LeftBehind: go on where the others are.

        `chunks` is what `Network.chunks` of one of them says between two aggregations;
        the next aggregation here must be their next one. What the job has agreed on
        meanwhile (weights, scales) is for the caller to bring.
        """
        self._transport.skip_to(chunks)

    def abort(self, reason: str) -> None:
        """Let the aggregation that another thread is in fail, and all that follow."""
        self._transport.aborted = reason

    def close(self, leave: bool = True) -> None:
        """Leave the job. The others can go on until they need this worker. `leave`
        False: without a word, so that they are told that it is gone."""
        if self._sock.fileno() >= 0:
            if leave:
                self._membership.leave()
            else:
                self._membership.close()
            self._close_sockets()

    def __enter__(self) -> "Network":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(leave=error is None)

    def _close_sockets(self) -> None:
        self._sock.close()
        if self._group is not None:
            self._group.close()
