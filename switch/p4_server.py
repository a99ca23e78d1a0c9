"""The control plane of a P4 switch as a program: tables on one side, gRPC on the other.

The packets go through the P4 switch; nothing here sees them.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from switch import p4_tables
from switch.config import Address, SwitchConfig
from switch.control import Control
from switch.p4_dataplane import P4Dataplane
from switch.p4_tables import Replica, Station, Tables
from switch.server import stop_signals
from switch.service import ControlService
from switch.simple_switch import SimpleSwitch, SimpleSwitchError

EVERYBODY = 1000  # the group of all ports; jobs have the numbers of their rows
# Packets of one worker: BMv2 reads them from a ring of 32.
MOST_OUTSTANDING = 16
START_TIMEOUT, RETRY = 10.0, 0.1  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class P4SwitchConfig:
    """A P4 switch, what is attached to it, and where its control plane listens."""

    switch: SwitchConfig
    """Its address is the one that packets are sent to."""

    mac: int
    """Of that address."""

    control: Address
    """TCP; numeric IP."""

    thrift_port: int
    """Of `simple_switch`, on this machine."""

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
    with (
        stop_signals() as stop,
        connect(config.thrift_port) as tables,
        open_control(config, tables) as (dataplane, address),
    ):
        if ready is not None:
            ready(address)
        select.select([stop], [], [])
        return dataplane.counters()


def connect(thrift_port: int) -> SimpleSwitch:
    """The switch may still be starting."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return SimpleSwitch(thrift_port)
        except SimpleSwitchError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY)


@contextmanager
def open_control(
    config: P4SwitchConfig, tables: Tables
) -> Iterator[tuple[P4Dataplane, Address]]:
    """The control plane at work, and the address where it listens."""
    attach(config, tables)
    dataplane = P4Dataplane(tables, config.switch, config.stations, config.loop)
    control = Control(config.switch, dataplane, most_outstanding=MOST_OUTSTANDING)
    service = ControlService(control, threading.Lock(), *config.control)
    service.start()
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
