"""The gRPC shell of the control plane: a server in a thread with a loop of its own.

Every call into `Control` holds the switch's lock, because the data path runs in
another thread. What the answers mean is `control.py`'s business.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

import grpc

from switch.admission import JoinRequest, Refusal, text_of
from switch.config import Address
from switch.control import Control
from switch.events import Closing, Event, Refused
from switch.protocol import FORMAT, KEEPALIVE
from switch.relay import Relay
from switch.security import Security
from switch.stubs import control_pb2 as pb
from switch.stubs import control_pb2_grpc as pb_grpc
from switch.translation import read_request, read_token, write_event

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")
Lock = AbstractContextManager[object]

# Else every stranger prints a line. Read when the first server is made.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

GRACE = 0.5  # seconds for open streams to take their last event

OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second switch on the port must fail, not share it
    *KEEPALIVE,
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class ControlService:
    """Serves `control` on TCP at `address`:`port` between `start` and `stop`."""

    def __init__(
        self,
        control: Control,
        lock: Lock,
        address: str,
        port: int,
        *,
        parent: str = "",
        security: Security | None = None,
    ) -> None:
        self.address = address
        self.parent = parent
        """HOST:PORT of the switch above, to which joins are passed on; or empty."""
        self.security = security or Security()
        self.port = port
        """0 means any free port; the one that was found is here after `start`."""
        self._switchboard = _Switchboard(control, lock)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Listen. Raises OSError if the port is taken or the address is not ours, and
        ValueError if there should be a certificate, or is none."""
        self.security.check_address(self.address)
        listening: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(listening,), name="control plane", daemon=True
        )
        self._thread.start()
        listening.result()

    def stop(self) -> None:
        """Tell every worker that the switch stops, and end. The lock must be free."""
        if self._thread is None or self._loop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def _run(self, listening: Future[None]) -> None:
        try:
            asyncio.run(self._serve(listening))
        except Exception as error:
            if listening.done():
                raise
            listening.set_exception(error)

    async def _serve(self, listening: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=OPTIONS)
        relay = None
        if self.parent:
            relay = Relay(
                self.parent,
                self._switchboard.control,
                self._switchboard.run,
                self.security.above,
            )
        servicer = _Servicer(self._switchboard, relay)
        pb_grpc.add_ControlServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        self.port = self._bind(server)
        await server.start()
        listening.set_result(None)
        await self._stopping.wait()
        self._switchboard.call(lambda control, now: control.close())
        await server.stop(GRACE)
        if relay is not None:
            await relay.close()

    def _bind(self, server: grpc.aio.Server) -> int:
        address = self.address, self.port
        try_to_listen(address)
        try:
            credentials = _credentials(self.security)
            if credentials is not None:
                return server.add_secure_port(text_of(address), credentials)
            return server.add_insecure_port(text_of(address))
        except RuntimeError as error:
            raise _cannot_listen(address, errno.EADDRINUSE) from error


def try_to_listen(address: Address) -> None:
    """Raise OSError where gRPC would fail, but with the reason, and without its line on
    stderr."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        socket.create_server(address, family=family).close()
    except OSError as error:
        raise _cannot_listen(address, error.errno or errno.EADDRINUSE) from error


def _cannot_listen(address: Address, number: int) -> OSError:
    reason = os.strerror(number)
    return OSError(number, f"cannot listen at {text_of(address)} (TCP): {reason}")


class _Switchboard:
    """Between the streams and `Control`: lock, clock, timer, one outbox a stream."""

    def __init__(self, control: Control, lock: Lock) -> None:
        self.control = control
        self._lock = lock
        self._outboxes: dict[int, asyncio.Queue[Event]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def call(self, action: Callable[[Control, float], Answer]) -> Answer:
        """Run `action` under the lock, then deliver what it had to tell."""
        try:
            with self._lock:
                return action(self.control, asyncio.get_running_loop().time())
        finally:
            self._deliver()

    def run(self, action: Callable[[], Answer]) -> Answer:
        """The same for what knows its control plane."""
        return self.call(lambda control, now: action())

    @asynccontextmanager
    async def membership(
        self, request: JoinRequest
    ) -> AsyncIterator[asyncio.Queue[Event]]:
        """The events of one worker. Leaving the block is the end of its stream."""
        outbox: asyncio.Queue[Event] = asyncio.Queue()

        def join(control: Control, now: float) -> int:
            number = control.join(request, now)
            self._outboxes[number] = outbox
            return number

        member = self.call(join)
        try:
            yield outbox
        finally:
            del self._outboxes[member]
            self.call(lambda control, now: control.disconnect(member))

    def _deliver(self) -> None:
        with self._lock:
            events = self.control.take_events()
            deadline = self.control.next_timeout()
        for member, event in events:
            if member in self._outboxes:
                self._outboxes[member].put_nowait(event)
        self._arm(deadline)

    def _arm(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self.call(lambda control, now: control.on_timeout(now))


class _Servicer(pb_grpc.ControlServicer):
    """One method for each rpc of control.proto: translate, call, translate back."""

    def __init__(self, switchboard: _Switchboard, relay: Relay | None) -> None:
        self._switchboard = switchboard
        self._relay = relay

    async def Join(self, request: pb.JoinRequest, context: Context) -> None:
        if self._relay is not None:
            await self._relay.join(request, context)
            return
        asked = read_request(request, read_token(context.invocation_metadata()))
        async with self._switchboard.membership(asked) as outbox:
            while True:
                event = await outbox.get()
                await context.write(write_event(event))
                if isinstance(event, Refused | Closing):
                    return

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> Any:
        if self._relay is not None:
            return await self._relay.leave(request, context)
        await self._answer(context, lambda control: control.leave(request.member))
        return pb.LeaveResponse()

    async def Reset(self, request: pb.ResetRequest, context: Context) -> Any:
        token = read_token(context.invocation_metadata())
        await self._answer(context, lambda control: control.reset(request.job, token))
        return pb.ResetResponse()

    async def Counters(self, request: pb.CountersRequest, context: Context) -> Any:
        job = request.job if request.HasField("job") else None
        counters = await self._answer(context, lambda control: control.counters(job))
        late = []
        if job is not None:
            late = await self._answer(context, lambda control: control.lateness(job))
        lateness = [pb.Lateness(**each._asdict()) for each in late]
        return pb.CountersResponse(counters=counters, lateness=lateness)

    async def Ping(self, request: pb.PingRequest, context: Context) -> Any:
        return pb.PingResponse(format=FORMAT)

    async def _answer(
        self, context: Context, action: Callable[[Control], Answer]
    ) -> Answer:
        try:
            return self._switchboard.call(lambda control, now: action(control))
        except Refusal as refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal))
            raise


def _credentials(security: Security) -> grpc.ServerCredentials | None:
    """For TLS, or None."""
    pair = security.certified()
    return None if pair is None else grpc.ssl_server_credentials([pair])
