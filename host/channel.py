"""The way to a switch's control plane: gRPC, with a certificate or without."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from host.access import CERTIFICATE, Access
from switch.protocol import KEEPALIVE
from switch.stubs import control_pb2 as pb
from switch.stubs import control_pb2_grpc as pb_grpc

# Else every fork of a data loader prints a line. Read when the first channel opens.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

Address = tuple[str, int]

CONNECT_TIMEOUT = 5.0  # seconds for a switch that is starting to begin to listen

OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # no backoff inherited from an earlier try
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    *KEEPALIVE,
)


class SwitchRefused(RuntimeError):
    """The switch answered, and said no. The text is the switch's reason."""


def connect(address: str, timeout: float, access: Access) -> grpc.Channel:
    """A channel to a switch that answers."""
    split_address(address)
    channel = _channel(address, access)
    stub = pb_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]
    try:
        stub.Ping(pb.PingRequest(), timeout=timeout, wait_for_ready=True)
    except grpc.RpcError:
        channel.close()
        raise _no_switch(address, access) from None
    except BaseException:
        channel.close()
        raise
    return channel


def _channel(address: str, access: Access) -> grpc.Channel:
    if access.certificate is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    credentials = grpc.ssl_channel_credentials(access.certificate)
    return grpc.secure_channel(address, credentials, options=OPTIONS)


@contextmanager
def stub_at(address: str, access: Access | None) -> Iterator[Any]:
    access = access or Access.from_environment()
    with connect(address, CONNECT_TIMEOUT, access) as channel:
        try:
            yield pb_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                raise SwitchRefused(error.details()) from None
            raise _no_switch(address, access) from error


def _no_switch(address: str, access: Access) -> ConnectionError:
    if access.certificate is not None:
        return ConnectionError(
            f"no switch answers at {address} (TCP) with a certificate that "
            f"{CERTIFICATE} vouches for, of the host that is asked for"
        )
    return ConnectionError(
        f"no switch answers at {address} (TCP): start one with `intswitch switch`; one "
        f"that has a certificate takes {CERTIFICATE}, a file, to be reached"
    )


def split_address(address: str) -> Address:
    """HOST:PORT -> host, port. Raises ValueError, with what is expected."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(
            f"switch address {address!r}: expected HOST:PORT, such as 127.0.0.1:48864"
        )
    return host.strip("[]"), int(port)
