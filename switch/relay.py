"""Passes the joins at a switch on to the switch above, and the answers back.

The gRPC shell of `branch.py`: one stream upward for each stream of a worker.
"""

from collections.abc import Callable
from typing import Any

import grpc

from switch.addresses import reached_at
from switch.admission import JoinRequest, Refusal
from switch.branch import Branch
from switch.config import Address
from switch.control import Control
from switch.events import Death, Joined, Refused
from switch.protocol import CALL_TIMEOUT, KEEPALIVE, TOKEN
from switch.stubs import control_pb2 as pb
from switch.stubs import control_pb2_grpc as pb_grpc
from switch.translation import (
    read_address,
    read_joined,
    read_request,
    read_token,
    write_address,
    write_event,
)

Context = grpc.aio.ServicerContext[Any, Any]
Run = Callable[[Callable[[], Any]], Any]
"""Calls a function under the switch's lock."""

OPTIONS = (("grpc.enable_http_proxy", 0), *KEEPALIVE)


class Relay:
    """Lives in the service's event loop."""

    def __init__(
        self, parent: str, control: Control, run: Run, certificate: bytes | None
    ) -> None:
        """certificate: PEM, of who vouches for the switch above; None: no TLS."""
        self._parent = parent
        self._own: Address = control.data
        self._branch = Branch(control)
        self._run = run
        self._channel = grpc.aio.insecure_channel(parent, options=OPTIONS)
        if certificate is not None:
            credentials = grpc.ssl_channel_credentials(certificate)
            self._channel = grpc.aio.secure_channel(parent, credentials, OPTIONS)
        self._stub: Any = pb_grpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        await self._channel.close(None)

    async def join(self, request: pb.JoinRequest, context: Context) -> None:
        """Serve a worker's stream to its end, whoever ends it."""
        token = read_token(context.invocation_metadata())
        asked = read_request(request, token)
        try:
            member: int = self._run(lambda: self._branch.open(asked))
        except Refusal as refusal:
            await context.write(write_event(Refused(str(refusal))))
            return
        upward = pb.JoinRequest()
        upward.CopyFrom(request)
        upward.via.append(write_address(self._own))
        stream = self._stub.Join(upward, metadata=((TOKEN, token),))
        try:
            await self._pass_down(stream, member, asked, context)
        finally:
            stream.cancel()
            self._run(lambda: self._branch.close(member, asked.job))

    async def _pass_down(
        self, stream: Any, member: int, asked: JoinRequest, context: Context
    ) -> None:
        has_joined = False
        try:
            async for event in stream:
                if event.HasField("joined"):
                    event = write_event(self._joined(member, asked, event.joined))
                    has_joined = True
                await context.write(event)
                if event.HasField("refused") or event.HasField("closing"):
                    return
            why = "ended the connection"
        except grpc.aio.AioRpcError:
            why = "does not answer"
        except Refusal as refusal:
            await context.write(write_event(Refused(str(refusal))))
            return
        text = f"the switch above, at {self._parent}, {why}"
        gone = Death((), text) if has_joined else Refused(text)
        await context.write(write_event(gone))

    def _joined(self, member: int, asked: JoinRequest, joined: pb.Joined) -> Joined:
        parent = reached_at(read_address(joined.data), self._parent, self._own[0])
        above = read_joined(joined, asked, parent)
        answer: Joined = self._run(
            lambda: self._branch.on_joined(member, asked.job, above)
        )
        return answer

    async def leave(
        self, request: pb.LeaveRequest, context: Context
    ) -> pb.LeaveResponse:
        try:
            above = self._run(lambda: self._branch.above(request.member))
            await self._stub.Leave(pb.LeaveRequest(member=above), timeout=CALL_TIMEOUT)
        except Refusal as refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal))
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        return pb.LeaveResponse()
