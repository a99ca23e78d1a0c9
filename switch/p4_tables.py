"""What the tables of the program in `p4/` hold for a job: entries, groups, counters.

Names and parameters are those of the P4 files. Nothing is written here: Thrift and
P4Runtime take the same entries.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from switch.codes import narrowest_result
from switch.config import Address, JobConfig
from switch.protocol import ELEMENT_BYTES, DropReason, Rule
from switch.tree import ranks_behind, switches_below, worker_fields

SLOT_BYTES = 1280  # sizes.p4
SLOT_BYTES_WITHOUT_LOOP = 512  # grow.p4
BLOCK_BYTES = 256
PART = 16  # entries of a table for code8
NUM_SLOTS = 32768
MAX_JOBS = 255
NUM_BINDINGS = 4096  # children and parents of all jobs together
NUM_RANKS = 16384  # workers behind the children of all jobs in trees
COUNTERS_PER_JOB = 32
NO_PORT = 511  # headers.p4: where the switch above would be
PARENT = 0xFFFF  # among the receivers of a job's packets

ADMISSION = "SwitchIngress.aggregate.admission"
REPLY = "SwitchIngress.aggregate.reply"
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
FIRST_DROP = 7
COUNTERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "accepted": (VERDICTS, (0, 1, 2, 5)),
    "replays": (VERDICTS, (3, 6)),
    "statuses": (VERDICTS, (4,)),
    **{
        reason.name.lower(): (VERDICTS, (FIRST_DROP + reason,)) for reason in DropReason
    },
    "results": (VERDICTS, (15,)),
    "copies": (COPIES, (16,)),
    "damaged": (VERDICTS, (17,)),
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
    """For a job's group: the number of the child."""
    port: int


@dataclass(frozen=True, slots=True)
class Station:
    """Where a host is attached, or another switch."""

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


def job_entry(
    job: JobConfig,
    rule: Rule,
    place: Place,
    loop: int,
    stations: Mapping[str, Station],
) -> Entry:
    """What the data plane must know of a job; a reset changes the epoch alone."""
    parent = parent_of(job)
    return Entry(
        f"{ADMISSION}.jobs",
        (job.job,),
        f"{ADMISSION}.set_job",
        (
            place.row,
            2 * place.first_slot,
            job.num_slots,
            job.slot_bytes,
            job.num_workers,
            sum(map(len, ranks_behind(job))),
            job.overflow,
            rule,
            place.row,
            place.epoch,
            loop,
            narrowest_result(job.code8, job.num_workers),
            stations[parent[0]].port if parent else NO_PORT,
            int(switches_below(job) > 0),
        ),
    )


def child_entries(
    job: JobConfig, place: Place, stations: Mapping[str, Station]
) -> list[Entry]:
    """Bind the addresses of a job's children, workers or switches, in and out."""
    entries = []
    says, behind = worker_fields(job), ranks_behind(job)
    for child, (address, port) in enumerate(job.workers):
        entries += [
            Entry(
                f"{ADMISSION}.children",
                (job.job, says[child], number_of(address), port),
                f"{ADMISSION}.set_child",
                (child, 1 << child, len(behind[child]), stations[address].port),
            ),
            receiver_entry(place, child, (address, port), stations),
        ]
    return entries


def receiver_entry(
    place: Place, receiver: int, address: Address, stations: Mapping[str, Station]
) -> Entry:
    """The address of copies to a child, or to the parent."""
    host, port = address
    return Entry(
        f"{REPLICATE}.receivers",
        (place.row, receiver),
        f"{REPLICATE}.address",
        (stations[host].mac, number_of(host), port),
    )


def tree_entries(
    job: JobConfig, place: Place, stations: Mapping[str, Station]
) -> list[Entry]:
    """Of a job in a tree: the switch above, and the child that leads to each worker."""
    if job.tree is None:
        return []
    entries = [
        Entry(f"{REPLY}.ranks", (job.job, rank), f"{REPLY}.to_child", (child,))
        for child, ranks in enumerate(ranks_behind(job))
        for rank in ranks
    ]
    if job.tree.parent:
        host, port = job.tree.parent
        key = job.job, number_of(host), port
        entries += [
            Entry(f"{ADMISSION}.parents", key, "NoAction"),
            receiver_entry(place, PARENT, job.tree.parent, stations),
        ]
    return entries


def parent_of(job: JobConfig) -> Address | None:
    """The switch above, in a tree."""
    return job.tree.parent if job.tree else None


def code_entries(job: JobConfig) -> list[Entry]:
    """The job's code tables, as the program looks them up."""
    return [*code4_entries(job), *code8_entries(job)]


def code4_entries(job: JobConfig) -> list[Entry]:
    """The job's table for code4, for each result type that its sums fit: each entry as
    often as there are lanes in a block."""
    if job.code4 is None:
        return []
    narrowest = narrowest_result(job.code4, job.num_workers)
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
        Replica(child, stations[address].port)
        for child, (address, _) in enumerate(job.workers)
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
