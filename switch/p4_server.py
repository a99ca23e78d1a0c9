"""The control plane of a P4 switch as a program: tables on one side, gRPC on the other.

The packets go through the P4 switch; nothing here sees them.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from switch import p4_tables
from switch.config import Address, SwitchConfig
from switch.control import Control
from switch.p4_dataplane import P4Dataplane
from switch.p4_tables import Replica, Station, Tables
from switch.server import stop_signals
from switch.service import ControlService, try_to_listen
from switch.simple_switch import SimpleSwitch, SimpleSwitchError

if TYPE_CHECKING:
    from switch import p4runtime

EVERYBODY = 1000  # the group of all ports; jobs have the numbers of their rows
# Packets of one worker: BMv2 reads them from a ring of 32.
MOST_OUTSTANDING = 16
START_TIMEOUT, RETRY = 10.0, 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Thrift:
    """How to reach a `simple_switch` that runs the program."""

    port: int
    """On this machine."""


@dataclass(frozen=True, slots=True)
class P4Runtime:
    """How to reach a `simple_switch_grpc`, and what to load into it."""

    address: str
    """ADDRESS:PORT."""

    program: Path
    """JSON, as p4c makes it for BMv2."""

    p4info: Path
    """Text, as p4c makes it."""

    device_id: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class P4SwitchConfig:
    """A P4 switch, what is attached to it, and where its control plane listens."""

    switch: SwitchConfig
    """Its address is the one that packets are sent to."""

    mac: int
    """Of that address."""

    control: Address
    """TCP; numeric IP."""

    connection: Thrift | P4Runtime

    stations: Mapping[str, Station]
    """Every host, by its IPv4 address."""

    loop: int | None = None
    """A port that is wired to another one, for wide slots; see p4/grow.p4."""


def serve(
    config: P4SwitchConfig, *, ready: Callable[[Address], None] | None = None
) -> dict[str, int]:
    """Serve until SIGINT or SIGTERM; the switch's counters.

    Raises ValueError if the switch does not answer, or cannot do what is asked, and
    OSError if the control plane's address is taken.
    """
    # before the switch is emptied, which may be another's
    try_to_listen(config.control)
    with (
        stop_signals() as stop,
        connect(config.connection) as tables,
        open_control(config, tables) as (dataplane, address),
    ):
        if ready is not None:
            ready(address)
        select.select([stop], [], [])
        return dataplane.counters()


def connect(connection: Thrift | P4Runtime) -> SimpleSwitch | p4runtime.P4Runtime:
    """The switch's tables, empty. The switch may still be starting."""
    if isinstance(connection, Thrift):
        return connect_thrift(connection.port)
    # a package that not everybody has
    from switch import p4runtime

    return p4runtime.P4Runtime(
        connection.address,
        connection.program,
        connection.p4info,
        connection.device_id,
        timeout=START_TIMEOUT,
    )


def connect_thrift(port: int) -> SimpleSwitch:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return SimpleSwitch(port)
        except SimpleSwitchError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY)


@contextmanager
def open_control(
    config: P4SwitchConfig, tables: Tables
) -> Iterator[tuple[P4Dataplane, Address]]:
    """The control plane at work, and the address where it listens.

    If it cannot start, the switch is left empty.
    """
    try:
        attach(config, tables)
        dataplane = P4Dataplane(tables, config.switch, config.stations, config.loop)
        control = Control(config.switch, dataplane, most_outstanding=MOST_OUTSTANDING)
        service = ControlService(
            control,
            threading.Lock(),
            *config.control,
            parent=config.switch.parent,
            security=config.switch.security,
        )
        service.start()
    except BaseException:
        with suppress(ValueError):  # the switch is gone
            tables.reset()
        raise
    try:
        yield dataplane, (service.address, service.port)
    finally:
        service.stop()


def attach(config: P4SwitchConfig, tables: Tables) -> None:
    """What the switch must know before any job: itself, and who is where."""
    for entry in p4_tables.own_entries(config.switch.address, config.mac):
        tables.insert(entry)
    stations = config.stations.values()
    for station in stations:
        tables.insert(p4_tables.station_entry(station))
    ports = sorted({station.port for station in stations})
    tables.insert_group(EVERYBODY, [Replica(0, port) for port in ports])
    tables.insert(p4_tables.flood_entry(EVERYBODY))
