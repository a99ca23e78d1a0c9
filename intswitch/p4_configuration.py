"""The YAML file of `intswitch controller` -> P4SwitchConfig; all mistakes at once.

switch:
  address: 10.0.0.253         # packets are sent to it, at port 48864
  mac: 02:00:00:00:01:fd
  rule: safe                  # or switchml
  thrift_port: 9090           # of simple_switch, which has loaded the program; or
                              # p4runtime: 127.0.0.1:9559, of simple_switch_grpc
  loop: 5                     # a port wired to another; see p4/README.md. Or none
control: {address: 10.0.0.254, port: 48864, insecure: true}   # or tls_certificate: ...
stations:                     # every host, and other switches of trees: the address,
                              # and the port that leads to it
  - {address: 10.0.0.1, mac: "02:00:00:00:00:01", port: 0}
  - {address: 10.0.0.2, mac: "02:00:00:00:00:02", port: 1}
jobs: []                      # fixed ones, as in the file of `intswitch switch`

Beside `p4runtime` may stand `device_id: 1`, and `program: intswitch.json` with
`p4info: intswitch.p4info.txtpb`, from where the controller is started; where they are
not given, they are compiled. In a tree of switches, `control` has `parent: HOST:PORT`,
the control plane of the switch above: who joins here joins there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from host.access import Access
from intswitch.access import FilePath, SecurityPart
from intswitch.configuration import (
    JOB_DEFAULTS,
    JOBS,
    MAPPING,
    JobPart,
    Part,
    RuleName,
    job_config,
    number_in,
    resolve_worker,
    whole,
)
from intswitch.configuration import contradictions as of_any_switch
from intswitch.p4_program import compile_program
from intswitch.yaml_model import (
    Mistake,
    Numbered,
    expect,
    mapping,
    mappings,
    read_model,
)
from switch.config import SwitchConfig
from switch.p4_server import P4Runtime, P4SwitchConfig, Thrift
from switch.p4_tables import (
    MAX_JOBS,
    NUM_BINDINGS,
    NUM_SLOTS,
    SLOT_BYTES,
    SLOT_BYTES_WITHOUT_LOOP,
    Station,
)
from switch.protocol import DEFAULT_PORT, Rule
from switch.security import Security

MAX_PORT = 511  # of v1model
MAX_TCP_PORT = 65535
DEVICE_ID = 1
# Of the P4 program, as the file of an emulated switch would say it.
LIMITS = {"address": "0.0.0.0", "num_slots": NUM_SLOTS, "slot_bytes": SLOT_BYTES}
SIX_BYTES = "six bytes, as in 02:00:00:00:00:01; quote them"
MAC = re.compile("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def read_controller(path: Path | str) -> P4SwitchConfig:
    """The switch that a file describes.

    Raises FileError, with a line for every mistake, and OSError if it cannot be read.
    """
    file = read_model(Path(path), ControllerFile, contradictions)
    return P4SwitchConfig(
        switch=SwitchConfig(
            address=file.switch.address,
            port=DEFAULT_PORT,
            rule=Rule[file.switch.rule.upper()],
            num_slots=NUM_SLOTS,
            slot_bytes=SLOT_BYTES,
            parent=file.control.parent or "",
            jobs=tuple(job_config(job, version=4) for job in file.jobs),
            security=file.control.to_parent(),
        ),
        mac=number_of_mac(file.switch.mac),
        control=(file.control.address, file.control.port),
        connection=_connection(file.switch),
        stations={
            station.address: Station(number_of_mac(station.mac), station.port)
            for station in file.stations
        },
        loop=file.switch.loop,
    )


def _connection(switch: SwitchPart) -> Thrift | P4Runtime:
    if switch.thrift_port is not None:
        return Thrift(switch.thrift_port)
    assert switch.p4runtime is not None
    if switch.program is None or switch.p4info is None:
        compiled = compile_program()
        files = compiled.json, compiled.p4info
    else:
        files = switch.program, switch.p4info
    return P4Runtime(switch.p4runtime, *files, switch.device_id or DEVICE_ID)


def _host(worker: str) -> str | None:
    """None: it is none, which is told elsewhere."""
    try:
        return resolve_worker(worker, version=4)[0]
    except ValueError:
        return None


def number_of_mac(text: str) -> int:
    """'02:00:00:00:00:01' -> 0x020000000001. Raises ValueError."""
    if not _is_mac(text):
        raise ValueError(f"expected {SIX_BYTES}")
    return int(text.replace(":", ""), 16)


def _is_mac(value: object) -> bool:
    return isinstance(value, str) and MAC.fullmatch(value) is not None


def _is_ipv4(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(IPv4Address(value))
    except ValueError:
        return False


def _is_address_port(value: object) -> bool:
    address, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(address) and port.isdecimal() and 1 <= int(port) <= MAX_TCP_PORT


IPv4 = Annotated[str, expect("an IPv4 address, as in 10.0.0.1", _is_ipv4)]
Mac = Annotated[str, expect(SIX_BYTES, _is_mac)]
SwitchPort = Annotated[int, whole(0, MAX_PORT)]
AddressPort = Annotated[
    str, expect("ADDRESS:PORT, as in 127.0.0.1:9559", _is_address_port)
]
DeviceId = Annotated[int, whole(1, 2**64 - 1)]
TcpPort = Annotated[int, whole(1, MAX_TCP_PORT)]


class SwitchPart(Part):
    address: IPv4
    mac: Mac
    rule: RuleName = "safe"
    thrift_port: TcpPort | None = None
    p4runtime: AddressPort | None = None
    device_id: DeviceId | None = None
    program: FilePath | None = None
    p4info: FilePath | None = None
    loop: SwitchPort | None = None


class ControlPart(SecurityPart):
    address: IPv4
    port: Annotated[int, whole(0, MAX_TCP_PORT)] = DEFAULT_PORT
    parent: AddressPort | None = None

    def to_parent(self) -> Security:
        """To the switch above, this one is what a worker is."""
        found = self.security()
        if self.parent is None:
            return found
        return replace(found, above=Access.from_environment().certificate)


class StationPart(Part):
    address: IPv4
    mac: Mac
    port: SwitchPort


class ControllerFile(Part):
    switch: Annotated[SwitchPart, MAPPING]
    control: Annotated[ControlPart, MAPPING]
    stations: list[Annotated[StationPart, MAPPING]]
    jobs: Annotated[list[Annotated[JobPart, MAPPING]], JOBS] = Field([])


# one field against another


def contradictions(document: dict[str, Any]) -> Iterator[Mistake]:
    """See `read_model`."""
    switch, stations = mapping(document, "switch"), mappings(document, "stations")
    jobs = mappings(document, "jobs")
    if switch:
        yield from _connection_mistakes(switch)
    for field in ("address", "mac", "port"):
        yield from _repeated(field, switch, stations)
    as_emulated = LIMITS | {"rule": switch.get("rule", "safe")}
    yield from of_any_switch({"switch": as_emulated, "jobs": document.get("jobs")})
    if isinstance(document.get("stations"), list):
        yield from _unreachable(stations, jobs)
    if switch.get("loop") is None:
        yield from _too_wide(jobs)
    yield from _too_many(jobs)


def _connection_mistakes(switch: dict[str, Any]) -> Iterator[Mistake]:
    given = {name for name, value in switch.items() if value is not None}
    ways = given & {"thrift_port", "p4runtime"}
    if len(ways) != 1:
        text = (
            "expected either thrift_port, of simple_switch, or p4runtime, of"
            f" simple_switch_grpc; found {'both' if ways else 'neither'}"
        )
        yield ("switch", "p4runtime"), {}, text
    files = {"program": "p4info", "p4info": "program"}
    for field in ("device_id", *files):
        if field in given and "p4runtime" not in given:
            yield ("switch", field), {}, "allowed beside p4runtime alone"
    for field, other in files.items():
        if "p4runtime" in given and field in given and other not in given:
            text = f"expected {other} beside it, from the same compilation"
            yield ("switch", field), {}, text


def _repeated(
    field: str, switch: dict[str, Any], stations: Numbered
) -> Iterator[Mistake]:
    """Two of one address, MAC or port. The switch's own port is its loop."""
    own = "loop" if field == "port" else field
    first = {_key(switch.get(own)): f"switch.{own} is"} if own in switch else {}
    for number, station in stations:
        value = station.get(field)
        holder = first.setdefault(_key(value), f"stations.{number} has")
        if value is not None and holder != f"stations.{number} has":
            yield ("stations", number, field), value, f"{holder} the same"


def _key(value: object) -> str:
    return str(value).lower()  # MACs


def _unreachable(stations: Numbered, jobs: Numbered) -> Iterator[Mistake]:
    hosts = [station.get("address") for _, station in stations]
    for number, job in jobs:
        workers = job.get("workers")
        named: dict[tuple[str | int, ...], object] = {
            ("workers", rank): worker
            for rank, worker in enumerate(workers if isinstance(workers, list) else ())
        }
        named["tree", "parent"] = mapping(job, "tree").get("parent")
        for place, address in named.items():
            if isinstance(address, str) and _host(address) not in (None, *hosts):
                text = "no station has this address"
                yield ("jobs", number, *place), address, text


def _too_wide(jobs: Numbered) -> Iterator[Mistake]:
    for number, job in jobs:
        width = number_in(job, "slot_bytes", JOB_DEFAULTS.slot_bytes)
        if width > SLOT_BYTES_WITHOUT_LOOP:
            text = (
                f"expected at most {SLOT_BYTES_WITHOUT_LOOP} where switch.loop is not"
                " given"
            )
            yield ("jobs", number, "slot_bytes"), width, text


def _too_many(jobs: Numbered) -> Iterator[Mistake]:
    """More than the tables of the P4 program have room for."""
    if len(jobs) > MAX_JOBS:
        text = f"expected at most {MAX_JOBS} jobs, not {len(jobs)}"
        yield ("jobs", MAX_JOBS), {}, text
    workers = [job.get("workers") for _, job in jobs]
    count = sum(len(each) for each in workers if isinstance(each, list))
    if count > NUM_BINDINGS:
        text = f"expected at most {NUM_BINDINGS} workers in all jobs, not {count}"
        yield ("jobs",), {}, text
