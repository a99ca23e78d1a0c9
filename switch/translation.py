"""Between the control plane's data and what gRPC carries: control.proto, both ways."""

from collections.abc import Iterable

from switch.admission import JoinRequest
from switch.config import Address, JobConfig, TreePlace
from switch.events import Closing, Death, Event, Joined, Left, Refused
from switch.protocol import TOKEN, Overflow
from switch.stubs import control_pb2 as pb
from switch.tree import ranks_behind


def read_token(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The job's token that a call shows; empty: none."""
    shown = dict(metadata or ()).get(TOKEN, "")
    return shown if isinstance(shown, str) else shown.decode(errors="replace")


def read_request(request: pb.JoinRequest, token: str = "") -> JoinRequest:
    return JoinRequest(
        token=token,
        job=request.job,
        rank=request.rank,
        num_workers=request.num_workers,
        data=read_address(request.data),
        format=request.format,
        num_slots=request.num_slots,
        slot_bytes=request.slot_bytes,
        overflow=request.overflow,
        code4=tuple(request.code4) or None,
        code8=tuple(request.code8) or None,
        timeout=request.timeout,
        multicast=request.multicast,
        via=tuple(map(read_address, request.via)),
        straggler_timeout=request.straggler_timeout,
    )


def write_event(event: Event) -> pb.JoinEvent:
    match event:
        case Joined():
            return pb.JoinEvent(joined=_write_joined(event))
        case Refused(reason, timed_out):
            return pb.JoinEvent(refused=pb.Refused(reason=reason, timed_out=timed_out))
        case Death(ranks, text):
            return pb.JoinEvent(death=pb.Gone(ranks=ranks, text=text))
        case Left(ranks, text):
            return pb.JoinEvent(left=pb.Gone(ranks=ranks, text=text))
        case Closing():
            return pb.JoinEvent(closing=pb.Closing())


def _write_joined(event: Joined) -> pb.Joined:
    group = event.job.group
    return pb.Joined(
        member=event.member,
        job=event.job.job,
        data=write_address(event.data),
        window=event.window,
        workers=[write_address(worker) for worker in event.job.workers],
        group=None if group is None else write_address(group),
        places=[
            pb.Place(
                children=_children(place), straggler_timeout=place.straggler_timeout
            )
            for place in event.places
        ],
        children=_children(event.job) if event.job.tree else [],
        is_below=event.job.tree is not None and event.job.tree.parent is not None,
    )


def _children(job: JobConfig) -> list[pb.Child]:
    """What is below a switch of a job's tree."""
    assert job.tree
    return [
        pb.Child(
            data=write_address(data), ranks=ranks, is_switch=isinstance(child, tuple)
        )
        for data, ranks, child in zip(
            job.workers, ranks_behind(job), job.tree.ranks, strict=True
        )
    ]


def read_joined(joined: pb.Joined, request: JoinRequest, parent: Address) -> Joined:
    """What the switch above answers, whose data path is at `parent`; its places, the
    reader's own the first, are of the job that `request` asks for."""
    places = tuple(
        _read_place(place, joined.job, request, parent) for place in joined.places
    )
    return Joined(joined.member, places[0], parent, joined.window, places)


def _read_place(
    place: pb.Place, job: int, request: JoinRequest, parent: Address
) -> JobConfig:
    """(Of a switch further down, the parent is another; nobody asks here.)"""
    return JobConfig(
        job=job,
        workers=tuple(read_address(child.data) for child in place.children),
        num_slots=request.num_slots,
        slot_bytes=request.slot_bytes,
        overflow=Overflow(request.overflow),
        code4=request.code4,
        code8=request.code8,
        straggler_timeout=place.straggler_timeout,
        tree=TreePlace(
            num_workers=request.num_workers,
            ranks=tuple(
                tuple(child.ranks) if child.is_switch else child.ranks[0]
                for child in place.children
            ),
            parent=parent,
        ),
    )


def read_address(address: pb.DataAddress) -> Address:
    return address.address, address.port


def write_address(address: Address) -> pb.DataAddress:
    return pb.DataAddress(address=address[0], port=address[1])
