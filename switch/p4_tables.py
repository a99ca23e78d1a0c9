"""What the tables of the program in `p4/` hold for a job: entries, groups, counters.

Names and parameters are those of the P4 files. Nothing is written here: Thrift and
P4Runtime take the same entries.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from switch.codes import narrowest_result
from switch.config import JobConfig
from switch.protocol import ELEMENT_BYTES, DropReason, Rule

SLOT_BYTES = 1280  # sizes.p4
SLOT_BYTES_WITHOUT_LOOP = 512  # grow.p4
BLOCK_BYTES = 256
PART = 16  # entries of a table for code8
NUM_SLOTS = 32768
MAX_JOBS = 255
NUM_BINDINGS = 4096  # workers of all jobs together
COUNTERS_PER_JOB = 16

ADMISSION = "SwitchIngress.aggregate.admission"
LOOK_UP8 = "SwitchIngress.aggregate.look_up8"
REPLICATE = "SwitchEgress.replicate"
OWN_ADDRESSES = "SwitchIngress.own_address.own_addresses"
ARP_ANSWERS = "SwitchIngress.answer_arp.arp_answers"
STATIONS = "SwitchIngress.forward.stations"
ROUTES = "SwitchIngress.forward.routes"
ROUTERS = "SwitchIngress.forward.routers"
ARP_REQUEST = 1

VERDICTS = "SwitchIngress.aggregate.verdicts"
COPIES = f"{REPLICATE}.copies"

# Counter -> array and places in the row of a job; see `verdict_t` in headers.p4.
FIRST_DROP = 5
COUNTERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "accepted": (VERDICTS, (0, 1, 2)),
    "replays": (VERDICTS, (3,)),
    "statuses": (VERDICTS, (4,)),
    **{
        reason.name.lower(): (VERDICTS, (FIRST_DROP + reason,)) for reason in DropReason
    },
    "results": (VERDICTS, (13,)),
    "copies": (COPIES, (14,)),
    "damaged": (VERDICTS, (15,)),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a match-action table."""

    table: str
    key: tuple[int | str, ...]
    """In the order of the table's key. str: ADDRESS/LENGTH, of an lpm field."""
    action: str
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a multicast."""

    instance: int
    """For a job's group: the rank of the worker."""
    port: int


@dataclass(frozen=True, slots=True)
class Station:
    """Where a host is attached."""

    mac: int
    port: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a job was allotted. The row is the number of its multicast group too."""

    row: int
    first_slot: int
    epoch: int


class Tables(Protocol):
    """A P4 switch as its control plane sees it. Errors are ValueErrors."""

    def reset(self) -> None:
        """Empty tables, groups, counters and registers."""

    def insert(self, entry: Entry) -> None: ...
    def modify(self, entry: Entry) -> None: ...
    def delete(self, entry: Entry) -> None: ...
    def insert_group(self, group: int, replicas: Sequence[Replica]) -> None: ...
    def delete_group(self, group: int) -> None: ...
    def read_counter(self, name: str, index: int) -> int: ...


def number_of(address: str) -> int:
    """An IPv4 address as a table has it."""
    return int(ipaddress.IPv4Address(address))


def job_entry(job: JobConfig, rule: Rule, place: Place, loop: int) -> Entry:
    """What the data plane must know of a job; a reset changes the epoch alone."""
    return Entry(
        f"{ADMISSION}.jobs",
        (job.job,),
        f"{ADMISSION}.set_job",
        (
            place.row,
            2 * place.first_slot,
            job.num_slots,
            job.slot_bytes,
            len(job.workers),
            job.overflow,
            rule,
            place.row,
            place.epoch,
            loop,
            narrowest_result(job.code8, len(job.workers)),
        ),
    )


def worker_entries(
    job: JobConfig, place: Place, stations: Mapping[str, Station]
) -> list[Entry]:
    """Bind the addresses of a job's workers, in and out."""
    entries = []
    for rank, (address, port) in enumerate(job.workers):
        ipv4 = number_of(address)
        entries += [
            Entry(
                f"{ADMISSION}.workers",
                (job.job, rank, ipv4, port),
                f"{ADMISSION}.set_worker",
                (1 << rank, stations[address].port),
            ),
            Entry(
                f"{REPLICATE}.receivers",
                (place.row, rank),
                f"{REPLICATE}.address",
                (stations[address].mac, ipv4, port),
            ),
        ]
    return entries


def code_entries(job: JobConfig) -> list[Entry]:
    """The job's code tables, as the program looks them up."""
    return [*code4_entries(job), *code8_entries(job)]


def code4_entries(job: JobConfig) -> list[Entry]:
    """The job's table for code4, for each result type that its sums fit: each entry as
    often as there are lanes in a block."""
    if job.code4 is None:
        return []
    narrowest = narrowest_result(job.code4, len(job.workers))
    return [
        Entry(
            f"{ADMISSION}.codes",
            (job.job, lane),
            f"{ADMISSION}.set_codes",
            tuple(_in_every_lane(entry, width) for entry in job.code4),
        )
        for lane, width in enumerate(ELEMENT_BYTES)
        if lane >= narrowest
    ]


def code8_entries(job: JobConfig) -> list[Entry]:
    """The job's table for code8: the program takes it to its register, part by part."""
    if job.code8 is None:
        return []
    table = [entry % 2**32 for entry in job.code8]
    return [
        Entry(
            f"{LOOK_UP8}.codes8",
            (job.job, part),
            f"{LOOK_UP8}.write_part",
            tuple(table[start : start + PART]),
        )
        for part, start in enumerate(range(0, len(table), PART))
    ]


def _in_every_lane(entry: int, width: int) -> int:
    """A block of lanes of `width` bytes that all have the same integer."""
    lane = entry.to_bytes(width, "big", signed=True)
    return int.from_bytes(lane * (BLOCK_BYTES // width), "big")


def job_replicas(job: JobConfig, stations: Mapping[str, Station]) -> list[Replica]:
    """The multicast group of a job."""
    return [
        Replica(rank, stations[address].port)
        for rank, (address, _) in enumerate(job.workers)
    ]


def own_entries(address: str, mac: int) -> list[Entry]:
    """The switch's own address: packets to it are its own, and it answers ARP."""
    ipv4 = number_of(address)
    return [
        Entry(OWN_ADDRESSES, (mac, ipv4), "SwitchIngress.own_address.own"),
        Entry(
            ARP_ANSWERS,
            (ARP_REQUEST, ipv4),
            "SwitchIngress.answer_arp.answer",
            (mac,),
        ),
        # what is for the switch's MAC and not for its address is to be routed
        Entry(ROUTERS, (mac,), "NoAction"),
    ]


def station_entry(station: Station) -> Entry:
    """Where Ethernet frames to a host go."""
    return Entry(
        STATIONS, (station.mac,), "SwitchIngress.forward.to_port", (station.port,)
    )


def flood_entry(group: int) -> Entry:
    """Broadcasts, such as ARP requests for other hosts, go to all ports."""
    return Entry(STATIONS, (2**48 - 1,), "SwitchIngress.forward.flood", (group,))
