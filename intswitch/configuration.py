"""The YAML file of a stand-alone switch -> SwitchConfig; all mistakes at once.

switch: {address: 127.0.0.1, port: 48864, rule: safe}
control: {tls_certificate: switch.pem, tls_key: switch.key, tokens: tokens.yaml}
faults: {inward: {loss: 0.01}, outward: {loss: 0.01}, seed: 7}    # may be left out
jobs:                                                 # may be left out
  - job: 7
    num_slots: 8
    slot_bytes: 256
    overflow: wrap
    workers: [127.0.0.1:5001, localhost:5002, "[::1]:5003"]
    code4: [-7, -6, -5, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 5, 6, 7]   # or left out
    tree: {num_workers: 5, ranks: [0, 3, [1, 2]], parent: 10.0.0.1:48864}  # or left out
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from intswitch.access import SecurityPart
from intswitch.link_faults import Delay, FaultsPart, whole
from intswitch.yaml_model import (
    Mistake,
    expect,
    mapping,
    mappings,
    parse_model,
    read_model,
)
from switch.codes import TABLE_SIZES, objection_to_table
from switch.config import (
    Address,
    FaultConfig,
    JobConfig,
    LinkEnd,
    SwitchConfig,
    TreePlace,
)
from switch.protocol import HEADER_BYTES, MAX_WORKERS, Overflow, Rule
from switch.tree import MAX_JOB_WORKERS, objections_to_tree

MAX_SLOTS = 1 << 20
MAX_SLOT_BYTES = (65507 - HEADER_BYTES) // 4 * 4  # what one UDP datagram can carry

DEFAULTS = SwitchConfig()
JOB_DEFAULTS = JobConfig(job=1, workers=())


def read_switch(path: Path | str) -> SwitchConfig:
    """The switch that a file describes, worker addresses resolved.

    Raises FileError with a line for every mistake: file, line, path of the field, what
    is allowed, what was found. Raises OSError if the file cannot be read.
    """
    return _switch_config(read_model(Path(path), SwitchFile, contradictions))


def read_faults(text: str) -> FaultConfig:
    """The faults of a switch from YAML (or JSON) text. Raises FileError."""
    document = f"faults: {text}"
    file = parse_model(document, "--faults", SwitchFile, contradictions)
    return fault_config(file.faults)


def resolve_worker(text: str, version: int | None = None) -> Address:
    """'localhost:5001' -> ('127.0.0.1', 5001). `version` is 4 or 6; None: either.

    Raises ValueError, with what is allowed.
    """
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    if not bare or bracketed != (":" in bare):
        raise ValueError("expected ADDRESS:PORT, as in 127.0.0.1:5001 or [::1]:5001")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"port {port!r}: expected 1 to 65535")
    address = resolve_host(bare, version)
    if ip_address(address).is_unspecified or ip_address(address).is_multicast:
        raise ValueError("expected the address of one worker, to send results to")
    return address, int(port)


@lru_cache
def resolve_host(host: str, version: int | None = None) -> str:
    """Numeric IP of a host, IPv4 first. Raises ValueError."""
    family = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[version]
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        kind = "IP" if version is None else f"IPv{version}"
        raise ValueError(f"expected a host with an {kind} address") from None
    addresses = sorted({str(ip_address(each[4][0])) for each in found}, key=_by_version)
    return addresses[0]


def _by_version(address: str) -> tuple[int, str]:
    return ip_address(address).version, address


# fields


def _is_slots(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SLOTS and value.bit_count() == 1


def _is_width(value: Any) -> bool:
    return type(value) is int and 4 <= value <= MAX_SLOT_BYTES and value % 4 == 0


def _is_workers(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= MAX_WORKERS


def _is_ranks(value: Any) -> bool:
    ranks = value if isinstance(value, list) else [None]
    return all(
        type(each) is int
        or (isinstance(each, list) and all(type(rank) is int for rank in each))
        for each in ranks
    )


def _table(name: str) -> BeforeValidator:
    size = TABLE_SIZES[name]
    return expect(f"a list of {size} integers", lambda value: _is_table(name, value))


def _is_table(name: str, value: Any) -> bool:
    integers = isinstance(value, list) and all(type(each) is int for each in value)
    return integers and len(value) == TABLE_SIZES[name]


def _check_host(text: str) -> str:
    resolve_host(text)
    return text


SLOTS = expect(f"a power of two from 1 to {MAX_SLOTS}", _is_slots)
WIDTH = expect(f"a multiple of 4 from 4 to {MAX_SLOT_BYTES}", _is_width)
WORKERS = expect(f"a list of 1 to {MAX_WORKERS} workers, ADDRESS:PORT", _is_workers)
RANKS = expect("a list with each worker's rank, and a list for each switch", _is_ranks)
MAPPING = expect("a mapping of fields", lambda value: isinstance(value, dict))
JOBS = expect("a list of jobs", lambda value: isinstance(value, list))

RuleName = Literal["safe", "switchml"]
OverflowName = Literal["wrap", "saturate", "detect"]


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SwitchPart(Part):
    address: Annotated[str, AfterValidator(_check_host)] = DEFAULTS.address
    port: Annotated[int, whole(0, 65535)] = DEFAULTS.port
    rule: RuleName = "safe"
    num_slots: Annotated[int, whole(1, MAX_SLOTS)] = DEFAULTS.num_slots
    slot_bytes: Annotated[int, WIDTH] = DEFAULTS.slot_bytes
    parent: str = DEFAULTS.parent


class LinkPart(Part):
    """The switch's end of a link."""

    inward: Annotated[FaultsPart, MAPPING] = FaultsPart()
    outward: Annotated[FaultsPart, MAPPING] = FaultsPart()

    def end(self) -> LinkEnd:
        return LinkEnd(inward=self.inward.faults(), outward=self.outward.faults())


class PortsPart(LinkPart):
    links: Annotated[dict[str, Annotated[LinkPart, MAPPING]], MAPPING] = {}
    """Those that differ, by the IP addresses at their other ends."""
    seed: Annotated[int, whole(0, 2**63 - 1)] = 0


class TreePart(Part):
    num_workers: Annotated[int, whole(1, MAX_JOB_WORKERS)]
    ranks: Annotated[list[int | list[int]], RANKS]
    parent: str | None = None


class JobPart(Part):
    job: Annotated[int, whole(1, 65535)]
    workers: Annotated[list[str], WORKERS]
    num_slots: Annotated[int, SLOTS] = JOB_DEFAULTS.num_slots
    slot_bytes: Annotated[int, WIDTH] = JOB_DEFAULTS.slot_bytes
    overflow: OverflowName = "detect"
    straggler_timeout: Delay = JOB_DEFAULTS.straggler_timeout
    code4: Annotated[list[int] | None, _table("code4")] = None
    code8: Annotated[list[int] | None, _table("code8")] = None
    tree: Annotated[TreePart, MAPPING] | None = None


class SwitchFile(Part):
    switch: Annotated[SwitchPart, MAPPING] = SwitchPart()
    faults: Annotated[PortsPart, MAPPING] = PortsPart()
    control: Annotated[SecurityPart, MAPPING] = SecurityPart()
    jobs: Annotated[list[Annotated[JobPart, MAPPING]], JOBS] = []


# one field against another


def contradictions(document: dict[str, Any]) -> Iterator[Mistake]:
    """See `read_model`."""
    switch, jobs = mapping(document, "switch"), mappings(document, "jobs")
    yield from _repeated_jobs(jobs)
    yield from _too_many_slots(switch, jobs)
    yield from _too_wide(switch, jobs)
    for host in mapping(mapping(document, "faults"), "links"):
        if not _is_numeric(host):
            yield ("faults", "links", host), {}, "expected a numeric IP address"
    for number, job in jobs:
        yield from _wrong_workers(number, job, _version(switch))
        yield from _too_large(number, job)
        yield from _no_tree(number, job, switch)


def _is_numeric(host: object) -> bool:
    try:
        return str(ip_address(str(host))) == host
    except ValueError:
        return False


def _repeated_jobs(jobs: list[tuple[int, Any]]) -> Iterator[Mistake]:
    first: dict[int, int] = {}
    for number, job in jobs:
        name = job.get("job")
        if type(name) is int and first.setdefault(name, number) != number:
            yield ("jobs", number, "job"), name, f"jobs.{first[name]} has this id"


def _too_many_slots(
    switch: dict[str, Any], jobs: list[tuple[int, Any]]
) -> Iterator[Mistake]:
    total = number_in(switch, "num_slots", DEFAULTS.num_slots)
    left = total
    for number, job in jobs:
        slots = number_in(job, "num_slots", JOB_DEFAULTS.num_slots)
        if not _is_slots(slots):
            continue
        if slots <= left:
            left -= slots
            continue
        text = (
            f"only {left} of the switch's {total} slots are left for job"
            f" {job.get('job', '?')}"
        )
        yield ("jobs", number, "num_slots"), slots, text


def _too_wide(switch: dict[str, Any], jobs: list[tuple[int, Any]]) -> Iterator[Mistake]:
    widest = number_in(switch, "slot_bytes", DEFAULTS.slot_bytes)
    for number, job in jobs:
        width = number_in(job, "slot_bytes", JOB_DEFAULTS.slot_bytes)
        if width > widest:
            text = f"expected at most {widest}, the switch's slot_bytes"
            yield ("jobs", number, "slot_bytes"), width, text


def _wrong_workers(
    number: int, job: dict[str, Any], version: int | None
) -> Iterator[Mistake]:
    workers = job.get("workers")
    first: dict[Address, int] = {}
    for rank, text in enumerate(workers if isinstance(workers, list) else ()):
        if not isinstance(text, str):
            continue
        place = ("jobs", number, "workers", rank)
        try:
            address = resolve_worker(text, version)
        except ValueError as error:
            yield place, text, str(error)
            continue
        if first.setdefault(address, rank) != rank:
            yield place, text, f"worker {first[address]} has this address"


def _too_large(number: int, job: Any) -> Iterator[Mistake]:
    """Code tables whose sums over the job's workers an int32 cannot hold."""
    workers = job.get("workers")
    for name in TABLE_SIZES:
        table = job.get(name)
        if _is_workers(workers) and _is_table(name, table):
            here = len(workers)
            whole_job = number_in(mapping(job, "tree"), "num_workers", here)
            objection = objection_to_table(name, table, whole_job)
            if objection:
                largest = max(table, key=abs)
                yield ("jobs", number, name), largest, objection.split(": ", 1)[1]


def _no_tree(
    number: int, job: dict[str, Any], switch: dict[str, Any]
) -> Iterator[Mistake]:
    """What contradicts itself in a switch's place in a tree."""
    place = ("jobs", number, "tree")
    try:
        tree = TreePart.model_validate(job["tree"])
        workers = [resolve_worker(text) for text in job["workers"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # is none, or is told elsewhere
    try:
        found = _tree_place(tree, _version(switch))
    except ValueError as error:
        yield (*place, "parent"), tree.parent, str(error)
        return
    config = JobConfig(job=1, workers=tuple(workers), tree=found)
    for objection in objections_to_tree(config):
        yield place, {}, objection
    if switch.get("rule", "safe") != "safe":
        yield place, {}, "trees of switches take the rule safe"


def number_in(part: dict[str, Any], field: str, default: int) -> int:
    """The field, or what does no harm if it is none: that is told elsewhere."""
    value = part.get(field, default)
    return value if type(value) is int and value > 0 else 0


def _version(switch: dict[str, Any]) -> int | None:
    """The switch's version of IP, which is its workers' too. None: not known."""
    try:
        address = resolve_host(switch.get("address", DEFAULTS.address))
        return ip_address(address).version
    except (ValueError, TypeError):
        return None


# conversion


def _switch_config(file: SwitchFile) -> SwitchConfig:
    address = resolve_host(file.switch.address)
    version = ip_address(address).version
    return SwitchConfig(
        address=address,
        port=file.switch.port,
        rule=Rule[file.switch.rule.upper()],
        num_slots=file.switch.num_slots,
        slot_bytes=file.switch.slot_bytes,
        parent=file.switch.parent,
        faults=fault_config(file.faults),
        jobs=tuple(job_config(job, version) for job in file.jobs),
        security=file.control.security(),
    )


def fault_config(part: PortsPart) -> FaultConfig:
    everyone = part.end()
    return FaultConfig(
        inward=everyone.inward,
        outward=everyone.outward,
        links=tuple((host, link.end()) for host, link in part.links.items()),
        seed=part.seed,
    )


def _tree_place(tree: TreePart, version: int | None) -> TreePlace:
    """Raises ValueError where the parent is no address."""
    return TreePlace(
        num_workers=tree.num_workers,
        ranks=tuple(
            tuple(each) if isinstance(each, list) else each for each in tree.ranks
        ),
        parent=None if tree.parent is None else resolve_worker(tree.parent, version),
    )


def job_config(job: JobPart, version: int) -> JobConfig:
    return JobConfig(
        job=job.job,
        workers=tuple(resolve_worker(text, version) for text in job.workers),
        num_slots=job.num_slots,
        slot_bytes=job.slot_bytes,
        overflow=Overflow[job.overflow.upper()],
        straggler_timeout=job.straggler_timeout,
        code4=None if job.code4 is None else tuple(job.code4),
        code8=None if job.code8 is None else tuple(job.code8),
        tree=None if job.tree is None else _tree_place(job.tree, version),
    )
