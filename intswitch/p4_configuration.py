"""The YAML file of `intswitch controller` -> P4SwitchConfig; all mistakes at once.

switch:
  address: 10.0.0.253         # packets are sent to it, at port 48864
  mac: 02:00:00:00:01:fd
  rule: safe                  # or switchml
  thrift_port: 9090           # of simple_switch, which has loaded the program; or
                              # p4runtime: 127.0.0.1:9559, of simple_switch_grpc
  loop: 5                     # a port wired to another; see p4/README.md. Or none
control: {address: 10.0.0.254, port: 48864}
stations:                     # every host: its address, and the port that leads to it
  - {address: 10.0.0.1, mac: "02:00:00:00:00:01", port: 0}
  - {address: 10.0.0.2, mac: "02:00:00:00:00:02", port: 1}
jobs: []                      # fixed ones, as in the file of `intswitch switch`

Beside `p4runtime` may stand `device_id: 1`, and `program: intswitch.json` with
`p4info: intswitch.p4info.txtpb`, from where the controller is started; where they are
not given, they are compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from intswitch.configuration import (
    JOBS,
    MAPPING,
    JobPart,
    Part,
    RuleName,
    contradictions,
    job_config,
    resolve_worker,
    whole,
)
from intswitch.p4_program import compile_program
from intswitch.yaml_model import read_model
from switch.config import SwitchConfig
from switch.p4_server import P4Runtime, P4SwitchConfig, Thrift
from switch.p4_tables import NUM_SLOTS, SLOT_BYTES, SLOT_BYTES_WITHOUT_LOOP, Station
from switch.protocol import DEFAULT_PORT, Rule

MAX_PORT = 511  # of v1model
MAX_TCP_PORT = 65535
DEVICE_ID = 1
# Of the P4 program, as the file of an emulated switch would say it.
LIMITS = {"address": "0.0.0.0", "num_slots": NUM_SLOTS, "slot_bytes": SLOT_BYTES}
MAC = re.compile("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def read_controller(path: Path | str) -> P4SwitchConfig:
    """The switch that a file describes.

    Raises FileError, with a line for every mistake, and OSError if it cannot be read.
    """
    file = read_model(Path(path), ControllerFile)
    return P4SwitchConfig(
        switch=SwitchConfig(
            address=file.switch.address,
            port=DEFAULT_PORT,
            rule=Rule[file.switch.rule.upper()],
            num_slots=NUM_SLOTS,
            slot_bytes=SLOT_BYTES,
            jobs=tuple(job_config(job, version=4) for job in file.jobs),
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
    if not MAC.fullmatch(text):
        raise ValueError("expected six bytes, as in 02:00:00:00:00:01; quote them")
    return int(text.replace(":", ""), 16)


def _check_mac(text: str) -> str:
    number_of_mac(text)
    return text


def _check_ipv4(text: str) -> str:
    try:
        IPv4Address(text)
    except ValueError:
        raise ValueError("expected an IPv4 address, as in 10.0.0.1") from None
    return text


def _check_address_port(text: str) -> str:
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or not 1 <= int(port) <= MAX_TCP_PORT:
        raise ValueError("expected ADDRESS:PORT, as in 127.0.0.1:9559")
    return text


IPv4 = Annotated[str, AfterValidator(_check_ipv4)]
Mac = Annotated[str, AfterValidator(_check_mac)]
SwitchPort = Annotated[int, whole(0, MAX_PORT)]
FilePath = Annotated[Path, Field(strict=False)]  # YAML has strings
AddressPort = Annotated[str, AfterValidator(_check_address_port)]
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        mistakes = list(self._mistakes())
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _mistakes(self) -> Iterator[str]:
        """Every mistake begins with the path of its field, see `yaml_model`."""
        if (self.thrift_port is None) == (self.p4runtime is None):
            found = "neither" if self.p4runtime is None else "both"
            yield (
                "p4runtime: expected either thrift_port, of simple_switch, or"
                f" p4runtime, of simple_switch_grpc; found {found}"
            )
        if self.p4runtime is None:
            for field in ("device_id", "program", "p4info"):
                if getattr(self, field) is not None:
                    yield f"{field}: allowed beside p4runtime alone"
        elif (self.program is None) != (self.p4info is None):
            given, absent = "program", "p4info"
            if self.program is None:
                given, absent = absent, given
            yield f"{given}: expected {absent} beside it, from the same compilation"


class ControlPart(Part):
    address: IPv4
    port: Annotated[int, whole(0, MAX_TCP_PORT)] = DEFAULT_PORT


class StationPart(Part):
    address: IPv4
    mac: Mac
    port: SwitchPort


class ControllerFile(Part):
    switch: Annotated[SwitchPart, MAPPING]
    control: Annotated[ControlPart, MAPPING]
    stations: list[Annotated[StationPart, MAPPING]]
    jobs: Annotated[list[Annotated[JobPart, MAPPING]], JOBS] = Field([])

    @model_validator(mode="after")
    def _check(self) -> Self:
        mistakes = [
            *self._repeated("address"),
            *self._repeated("mac"),
            *self._wrong_jobs(),
        ]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _wrong_jobs(self) -> Iterator[str]:
        jobs = [job.model_dump() for job in self.jobs]
        for path, found, text in contradictions({"switch": LIMITS, "jobs": jobs}):
            yield f"{'.'.join(map(str, path))}: {text} (found {found!r})"
        hosts = {station.address for station in self.stations}
        for number, job in enumerate(self.jobs):
            if job.slot_bytes > SLOT_BYTES_WITHOUT_LOOP and self.switch.loop is None:
                yield (
                    f"jobs.{number}.slot_bytes: expected at most"
                    f" {SLOT_BYTES_WITHOUT_LOOP} where switch.loop is not given"
                    f" (found {job.slot_bytes})"
                )
            for rank, worker in enumerate(job.workers):
                if _host(worker) not in (None, *hosts):
                    yield f"jobs.{number}.workers.{rank}: no station has this address"

    def _repeated(self, field: str) -> Iterator[str]:
        """Every mistake begins with the path of its field, see `yaml_model`."""
        first: dict[Any, int] = {}
        for number, station in enumerate(self.stations):
            value = getattr(station, field)
            if first.setdefault(value, number) != number:
                yield (
                    f"stations.{number}.{field}:"
                    f" stations.{first[value]} has {value} too"
                )
