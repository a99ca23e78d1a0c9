"""What a worker may ask for when it joins: alone, and beside what others asked.

Pure functions; every objection names the field, the value and what is allowed.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from switch.codes import TABLE_SIZES, Table, objections_to_tables
from switch.config import Address, SwitchConfig
from switch.protocol import FORMAT, MAX_WORKERS, Overflow, Rule
from switch.security import same, wrong_token
from switch.tree import MAX_JOB_WORKERS

MAX_JOB_NAME = 255  # characters
MAX_TIMEOUT = 7 * 86400.0  # seconds
SLOT_BYTES_UNIT = 4  # a slot holds whole int32 elements


class Refusal(Exception):
    """The control plane says no; the text is for the user who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What one worker says to join a job. As received: nothing is checked yet."""

    job: str
    """Name; the same for all workers of the job."""

    rank: int

    num_workers: int

    data: Address
    """Where the worker's packets come from and its results go to."""

    format: int = FORMAT

    num_slots: int = 512

    slot_bytes: int = 1024

    overflow: int = Overflow.DETECT

    code4: Table | None = None
    """What the 16 codes of code4 stand for; None: it is not used."""

    code8: Table | None = None
    """What the 256 codes of code8 stand for."""

    timeout: float = 30.0
    """Seconds to wait for the other workers."""

    multicast: bool = False
    """The worker can receive from a multicast group on the loopback interface."""

    token: str = dataclasses.field(default="", repr=False)
    """The job's; see `security.py`."""

    via: tuple[Address, ...] = ()
    """Data addresses of the switches between the worker and this one, its own first."""

    straggler_timeout: float = 0.0
    """Seconds after which a result goes out without those that are late; 0: never."""


# What all workers of a job must say alike.
COMMON_FIELDS = (
    "num_workers", "num_slots", "slot_bytes", "overflow", "straggler_timeout",
)  # fmt: skip


def check_alone(request: JoinRequest, config: SwitchConfig) -> None:
    """Refuse what no switch, or not this one, could grant. All objections at once."""
    objection = config.security.objection(request.job, request.token)
    if objection is not None:  # and no word more to a stranger
        raise Refusal(objection)
    objections = [
        *_object_to_worker(request, config),
        *_object_to_slots(request, config),
        *objections_to_tables(request.code4, request.code8, request.num_workers),
        *_object_to_address(nearest(request), config),
        *_object_to_patience(request, config),
    ]
    _refuse(objections)


def nearest(request: JoinRequest) -> Address:
    """Where this switch sends the results to: the worker, or a switch."""
    return request.via[-1] if request.via else request.data


def check_together(request: JoinRequest, others: Iterable[JoinRequest]) -> None:
    """Refuse what contradicts a worker of the same job that waits already."""
    for other in others:
        if not same(request.token, other.token):
            raise Refusal(wrong_token(request.job, request.token))
        _refuse(_contradictions(request, other))


def text_of(address: Address) -> str:
    """An address as one writes it: 127.0.0.1:5001, [::1]:5001."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def numeric(address: Address) -> Address:
    """The same address in the one spelling that packets are compared by."""
    return str(ip_address(address[0])), address[1]


def _refuse(objections: Iterable[str]) -> None:
    text = "; ".join(objections)
    if text:
        raise Refusal(text)


def _object_to_worker(request: JoinRequest, config: SwitchConfig) -> Iterator[str]:
    if request.format != FORMAT:
        yield f"wire format {request.format}: this switch speaks format {FORMAT}"
    if not 0 < len(request.job) <= MAX_JOB_NAME:
        yield f"job name {request.job!r}: allowed are 1 to {MAX_JOB_NAME} characters"
    # more than one switch has bits for, if there are several
    most = MAX_JOB_WORKERS if request.via or config.parent else MAX_WORKERS
    if not 1 <= request.num_workers <= most:
        yield f"num_workers {request.num_workers}: allowed are 1 to {most}"
    elif not 0 <= request.rank < request.num_workers:
        yield (
            f"rank {request.rank}: allowed are 0 to {request.num_workers - 1}"
            f" (num_workers {request.num_workers})"
        )
    if not (math.isfinite(request.timeout) and 0 <= request.timeout <= MAX_TIMEOUT):
        yield f"timeout {request.timeout} s: allowed are 0 to {MAX_TIMEOUT:.0f} s"


def _object_to_slots(request: JoinRequest, config: SwitchConfig) -> Iterator[str]:
    slots, width = request.num_slots, request.slot_bytes
    if slots < 1 or slots & (slots - 1) or slots > config.num_slots:
        yield f"num_slots {slots}: allowed are powers of two up to {config.num_slots}"
    if width % SLOT_BYTES_UNIT or not SLOT_BYTES_UNIT <= width <= config.slot_bytes:
        yield (
            f"slot_bytes {width}: allowed are multiples of {SLOT_BYTES_UNIT}"
            f" up to {config.slot_bytes}"
        )
    if request.overflow not in list(Overflow):
        allowed = ", ".join(
            f"{policy.value} {policy.name.lower()}" for policy in Overflow
        )
        yield f"overflow {request.overflow}: allowed are {allowed}"


def _object_to_address(address: Address, config: SwitchConfig) -> Iterator[str]:
    host, port = address
    try:
        worker = ip_address(host)
    except ValueError:
        yield f"data address {host!r}: a numeric IPv4 or IPv6 address is needed"
        return
    switch: IPv4Address | IPv6Address = ip_address(config.address)
    if worker.is_unspecified or worker.is_multicast:
        yield f"data address {host}: results cannot be sent to it; bind to one address"
    elif worker.version != switch.version:
        yield (
            f"data address {host}: the switch's data path is IPv{switch.version}"
            f" ({config.address})"
        )
    if not 1 <= port <= 65535:
        yield f"data port {port}: allowed are 1 to 65535"


def _object_to_patience(request: JoinRequest, config: SwitchConfig) -> Iterator[str]:
    patience = request.straggler_timeout
    if not (math.isfinite(patience) and 0 <= patience <= MAX_TIMEOUT):
        yield f"straggler_timeout {patience} s: allowed are 0 to {MAX_TIMEOUT:.0f} s"
    elif patience and config.rule != Rule.SAFE:
        yield f"straggler_timeout {patience:g} s: the switch's rule must be safe"


def _contradictions(request: JoinRequest, other: JoinRequest) -> Iterator[str]:
    for field in COMMON_FIELDS:
        mine, theirs = _shown(request, field), _shown(other, field)
        if mine != theirs:
            yield f"{field} {mine}, but worker {other.rank} said {theirs}"
    for field in TABLE_SIZES:
        yield from _other_table(field, request, other)
    address = text_of(numeric(other.data))
    if request.rank == other.rank:
        yield f"rank {request.rank} is taken: the worker at {address} has it"
    elif numeric(request.data) == numeric(other.data):
        yield f"data address {address} is taken: worker {other.rank} has it"


def _other_table(field: str, request: JoinRequest, other: JoinRequest) -> Iterator[str]:
    """Where two tables differ: in being there, or in their first entry that does."""
    mine, theirs = getattr(request, field), getattr(other, field)
    said = f"but worker {other.rank} said"
    if (mine is None) != (theirs is None):
        words = {True: "no table", False: "a table"}
        yield f"{field}: {words[mine is None]}, {said} {words[theirs is None]}"
    elif mine != theirs:
        first = [one != two for one, two in zip(mine, theirs, strict=True)].index(True)
        yield f"{field}: code {first} is {mine[first]}, {said} {theirs[first]}"


def _shown(request: JoinRequest, field: str) -> str:
    if field == "overflow":
        return Overflow(request.overflow).name.lower()
    return str(getattr(request, field))
