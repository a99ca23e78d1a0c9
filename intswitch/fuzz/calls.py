"""Calls of the control plane with whatever bytes: requests are what they decode to, or
are not decoded at all. None may leave a trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc

from host.access import Access
from host.channel import connect
from intswitch.fuzz.bytes import Mutator
from switch.stubs import control_pb2 as pb

PREFIX = "/intswitch.control.Control/"
ANSWER_TIME = 5.0  # seconds
LONGEST_WAIT = 0.02  # seconds: of joins, which wait for workers that never come
ODD_TEXTS = ("", "x", "a" * 300, "\0", "ö", "../../etc", "training")
ODD_NUMBERS = (0, 1, 2, 3, 63, 64, 65, 512, 2**16, 2**31, 2**32 - 1)
ODD_TIMES = (0.0, 0.001, LONGEST_WAIT, -1.0, float("nan"), float("inf"), 1e300)


class Caller:
    """Means harm, or is broken."""

    def __init__(self, endpoint: str, mutator: Mutator) -> None:
        self.mutator = mutator
        self.random: random.Random = mutator.random
        self.channel = connect(endpoint, ANSWER_TIME, Access())
        self.refused = 0
        """Calls that were answered with an error."""

    def close(self) -> None:
        self.channel.close()

    def call(self) -> None:
        """One call, with its answer."""
        name, request = self._request()
        data = request.SerializeToString()
        if self.random.random() < 0.5:
            data = self.mutator.mutated(data)
        with suppress(UnicodeError):
            self._send(name, data)

    def _send(self, name: str, data: bytes) -> None:
        try:
            if name == "Join":
                stream = self.channel.unary_stream(PREFIX + name, *CODEC)
                for _ in stream(data, timeout=self._patience()):
                    if self.random.random() < 0.5:
                        break
            else:
                unary = self.channel.unary_unary(PREFIX + name, *CODEC)
                unary(data, timeout=ANSWER_TIME)
        except grpc.RpcError as error:
            self.refused += 1
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError("the switch is gone") from None

    def _patience(self) -> float:
        return self.random.choice([0.001, LONGEST_WAIT])

    def _request(self) -> tuple[str, Any]:
        draw = self.random
        makers: dict[str, Callable[[], Any]] = {
            "Join": self._join,
            "Leave": lambda: pb.LeaveRequest(member=draw.randrange(2**63)),
            "Reset": lambda: pb.ResetRequest(job=draw.choice(ODD_NUMBERS)),
            "Counters": lambda: pb.CountersRequest(job=draw.choice(ODD_NUMBERS)),
            "Ping": pb.PingRequest,
            "Nothing": pb.PingRequest,
        }
        name = draw.choice(["Join", "Join", *makers])
        return name, makers[name]()

    def _join(self) -> Any:
        draw = self.random
        request = pb.JoinRequest(
            job=draw.choice(ODD_TEXTS),
            rank=draw.choice([0, 0, *ODD_NUMBERS]),
            num_workers=draw.choice([1, 2, *ODD_NUMBERS]),
            format=draw.choice([1, 1, 1, 2]),
            num_slots=draw.choice([4, 4, *ODD_NUMBERS]),
            slot_bytes=draw.choice([64, 64, *ODD_NUMBERS]),
            overflow=draw.choice([0, 1, 2]),
            timeout=draw.choice(ODD_TIMES),
            straggler_timeout=draw.choice([0.0, 0.0, *ODD_TIMES]),
            multicast=draw.random() < 0.5,
        )
        via = [request.via.add() for _ in range(draw.randrange(2))]
        for address in (request.data, *via):
            address.address = draw.choice(["127.0.0.1", "10.0.0.1", "::1", *ODD_TEXTS])
            address.port = draw.choice([5, 5001, *ODD_NUMBERS])
        if draw.random() < 0.2:
            request.code4.extend(draw.randrange(-(2**31), 2**31) for _ in range(16))
        return request


def _as_it_is(data: bytes) -> bytes:
    return data


CODEC = (_as_it_is, _as_it_is)
