"""The worker's side of the control plane: join a job, and notice who dies.

The only module of `host` that knows gRPC. A thread reads the join stream; what the hot
loop of the agent asks (`failure`, `left`) are plain attributes that it sets.
"""

import operator
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import grpc

from host.access import Access
from host.channel import (
    CONNECT_TIMEOUT,
    SwitchRefused,
    connect,
    stub_at,
)
from switch.addresses import reached_at
from switch.codes import Table, objection_to_table
from switch.protocol import CALL_TIMEOUT, FORMAT, Overflow
from switch.stubs import control_pb2 as pb
from switch.stubs import control_pb2_grpc as pb_grpc

Address = tuple[str, int]

ANSWER_MARGIN = 2.0  # seconds beyond the join timeout, which the switch keeps


class Lateness(NamedTuple):
    """What a switch has seen of one of a job's workers, or of a switch below it."""

    ranks: tuple[int, ...]
    """The worker, or those behind the switch."""
    last: int
    """Chunks that it was the last to contribute to."""
    seconds: float
    """That it was behind the others then, all together."""
    missed: int
    """Results that went out without it."""


class JoinRefused(SwitchRefused):
    """The switch does not let this worker join the job."""


def join_job(
    switch_address: str,
    *,
    job: str,
    rank: int,
    num_workers: int,
    data_address: Address,
    num_slots: int = 512,
    slot_bytes: int = 1024,
    overflow: str = "detect",
    code4: Table | None = None,
    code8: Table | None = None,
    multicast: bool = False,
    timeout: float = 30.0,
    straggler_timeout: float = 0.0,
    access: Access | None = None,
) -> "Membership":
    """Join `job` and wait for the other workers, `timeout` seconds at most.

    `switch_address` is HOST:PORT of the control plane (TCP), `data_address` the numeric
    address that this worker's packets come from; `multicast`: it can receive from a
    multicast group on the loopback interface; `code4`, `code8`: what 16 and 256 codes
    stand for, or None; `straggler_timeout`: seconds after which results go out without
    those that are late, or 0; `access`: None takes what the environment says. Raises
    ValueError for arguments that no switch could take, ConnectionError if no switch
    answers, TimeoutError if workers are missing (the text names their ranks),
    JoinRefused if the switch says no.
    """
    started = time.monotonic()
    request = pb.JoinRequest(
        job=job,
        rank=_natural("rank", rank),
        num_workers=_natural("num_workers", num_workers),
        data=pb.DataAddress(
            address=data_address[0], port=_natural("data port", data_address[1])
        ),
        format=FORMAT,
        num_slots=_natural("num_slots", num_slots),
        slot_bytes=_natural("slot_bytes", slot_bytes),
        overflow=_overflow(overflow).value,  # type: ignore[arg-type]
        code4=_entries("code4", code4, num_workers),
        code8=_entries("code8", code8, num_workers),
        multicast=multicast,
        straggler_timeout=straggler_timeout,
    )
    access = access or Access.from_environment()
    channel = connect(switch_address, min(timeout, CONNECT_TIMEOUT), access)
    request.timeout = max(0.0, timeout - (time.monotonic() - started))
    return Membership(switch_address, channel, request, access)


def reset(switch_address: str, job: int, access: Access | None = None) -> None:
    """Start a fixed job afresh. Raises ConnectionError, SwitchRefused."""
    access = access or Access.from_environment()
    request = pb.ResetRequest(job=_natural("job", job))
    with stub_at(switch_address, access) as stub:
        stub.Reset(request, timeout=CALL_TIMEOUT, metadata=access.metadata())


def counters(
    switch_address: str, job: int | None = None, access: Access | None = None
) -> dict[str, int]:
    """Packets by what became of them, of one job or (None) of the whole switch.

    Raises ConnectionError, and SwitchRefused if there is no such job.
    """
    return dict(_counters(switch_address, job, access).counters)


def lateness(
    switch_address: str, job: int, access: Access | None = None
) -> list[Lateness]:
    """Of each worker of a job, or switch below. Raises as `counters` does."""
    return [
        Lateness(tuple(each.ranks), each.last, each.seconds, each.missed)
        for each in _counters(switch_address, job, access).lateness
    ]


def _counters(
    switch_address: str, job: int | None, access: Access | None
) -> pb.CountersResponse:
    number = None if job is None else _natural("job", job)
    request = pb.CountersRequest(job=number)
    with stub_at(switch_address, access) as stub:
        return stub.Counters(request, timeout=CALL_TIMEOUT)  # type: ignore[no-any-return]


def ping(switch_address: str, access: Access | None = None) -> float:
    """Seconds that the control plane takes to answer. Raises ConnectionError."""
    with stub_at(switch_address, access) as stub:
        started = time.perf_counter()
        stub.Ping(pb.PingRequest(), timeout=CALL_TIMEOUT)
        return time.perf_counter() - started


class Membership:
    """One worker's place in a job, from the switch's answer until `leave` or `close`.

    Made by `join_job`. `fileno()` becomes readable when `failure()` or `left` changes,
    until `acknowledge()`.
    """

    def __init__(
        self,
        switch_address: str,
        channel: grpc.Channel,
        request: pb.JoinRequest,
        access: Access,
    ) -> None:
        self.rank = request.rank
        self.num_workers = request.num_workers
        self.behind: Sequence[tuple[int, ...]] = [
            (rank,) for rank in range(request.num_workers)
        ]
        """The ranks behind each bit at the switch: all workers are at this one."""
        self.num_slots = request.num_slots
        self.slot_bytes = request.slot_bytes
        self.code4 = tuple(request.code4) or None
        """What the codes of code4 stand for; None: the job has no such table."""
        self.code8 = tuple(request.code8) or None
        self.dead: tuple[int, ...] = ()
        """Ranks of the workers that are gone without leaving."""
        self.left: tuple[int, ...] = ()
        """Ranks of the workers that need nothing more: they send nothing either."""
        self._address = switch_address
        self._access = access
        self._failure: str | None = None
        self._closed = False
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._channel = channel
        self._stub: Any = pb_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]
        self._answer: Future[pb.Joined] = Future()
        self._stream = self._stub.Join(request, metadata=access.metadata())
        self._reader = threading.Thread(
            target=self._read, name="join stream", daemon=True
        )
        self._reader.start()
        try:
            joined = self._wait(request.timeout + ANSWER_MARGIN)
            self._switch = reached_at(
                (joined.data.address, joined.data.port),
                switch_address,
                request.data.address,
            )
        except BaseException:
            self.close()
            raise
        self._settle(joined)

    def _settle(self, joined: pb.Joined) -> None:
        """Take in what the switch has granted."""
        self._member = joined.member
        self.job = joined.job
        """Id in the header of the job's packets."""
        self.window = joined.window
        """How many chunks to have outstanding at most, says the switch."""
        self.workers = tuple((each.address, each.port) for each in joined.workers)
        """Data addresses as bound: worker 0, worker 1, ...; in a tree of switches, of
        what is at this worker's own switch."""
        self.is_below: bool = joined.is_below
        """Whether there is a switch above the worker's."""
        if joined.children:
            self.behind = [tuple(child.ranks) for child in joined.children]
        self.group: Address | None = None
        """Where results for every worker go to, unless to each by itself."""
        if joined.HasField("group"):
            self.group = joined.group.address, joined.group.port

    @property
    def switch(self) -> Address:
        """Where to send packets: numeric IP and UDP port."""
        return self._switch

    def failure(self) -> str | None:
        """Why no aggregation of this job can end any more, or None."""
        return self._failure

    def fileno(self) -> int:
        """To poll beside the data socket."""
        return self._wakeup

    def acknowledge(self) -> None:
        """Make `fileno()` unreadable until there is more news."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wakeup)

    def counters(self) -> dict[str, int]:
        """Packets of this job by what became of them at the switch."""
        return counters(self._address, self.job, self._access)

    def lateness(self) -> list[Lateness]:
        """How late each worker is, as the switch has seen it."""
        return lateness(self._address, self.job, self._access)

    def leave(self) -> None:
        """Say that this worker has every result it wants, and close."""
        if self._closed:
            return
        # The switch may be gone; then there is nothing to leave.
        with suppress(grpc.RpcError):
            self._stub.Leave(pb.LeaveRequest(member=self._member), timeout=CALL_TIMEOUT)
        self.close()

    def close(self) -> None:
        """End the stream. Without `leave`, the other workers are told of a death."""
        if self._closed:
            return
        self._closed = True
        self._stream.cancel()
        self._reader.join()
        self._channel.close()
        os.close(self._wakeup)

    def _wait(self, timeout: float) -> pb.Joined:
        try:
            return self._answer.result(timeout)
        except TimeoutError as error:
            if self._answer.done():
                raise
            raise TimeoutError(
                f"the switch at {self._address} did not answer the join within"
                f" {timeout:.1f} s"
            ) from error

    # the reader's thread

    def _read(self) -> None:
        try:
            for event in self._stream:
                self._take(event)
            self._fail(f"the switch at {self._address} ended the connection")
        except grpc.RpcError:
            self._fail(f"the connection to the switch at {self._address} broke")

    def _take(self, event: pb.JoinEvent) -> None:
        match event.WhichOneof("event"):
            case "joined":
                self._answer.set_result(event.joined)
            case "refused" if event.refused.timed_out:
                self._answer.set_exception(TimeoutError(event.refused.reason))
            case "refused":
                self._answer.set_exception(JoinRefused(event.refused.reason))
            case "death":
                self.dead = tuple(event.death.ranks)
                self._failure = event.death.text
                os.eventfd_write(self._wakeup, 1)
            case "left":
                self.left = tuple(event.left.ranks)
                os.eventfd_write(self._wakeup, 1)
            case "closing":
                self._fail(f"the switch at {self._address} has stopped")

    def _fail(self, text: str) -> None:
        """The stream is over. What was known before says more about why."""
        if self._closed:
            return
        if self._failure is None:
            self._failure = text
        if not self._answer.done():
            self._answer.set_exception(ConnectionError(text))
        os.eventfd_write(self._wakeup, 1)


def _natural(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{name} {value!r}: expected an integer of 0 or more")
    return number


def _entries(name: str, table: Table | None, num_workers: int) -> Table:
    """The entries of a code table, checked as the switch does; none: an empty one."""
    if table is None:
        return ()
    entries = tuple(map(operator.index, table))
    objection = objection_to_table(name, entries, num_workers)
    if objection is not None:
        raise ValueError(objection)
    return entries


def _overflow(name: str) -> Overflow:
    policies = {policy.name.lower(): policy for policy in Overflow}
    if name not in policies:
        raise ValueError(f"overflow {name!r}: expected {', '.join(policies)}")
    return policies[name]
