"""Jobs that workers join, from the first that asks to the last that goes; in words."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from switch.admission import JoinRequest
from switch.config import JobConfig
from switch.events import Death, Left


@dataclass(frozen=True, slots=True)
class Waiting:
    """A worker that waits for the others."""

    member: int
    request: JoinRequest
    deadline: float


@dataclass(slots=True)
class Gathering:
    """The workers of a job that has not begun. Never empty."""

    name: str
    waiting: dict[int, Waiting] = field(default_factory=dict)
    """By rank."""
    gave_up: set[int] = field(default_factory=set)
    """Ranks that were here and are not: named apart from those that never came."""


@dataclass(slots=True)
class Running:
    """A job with slots. Ends when `members` is empty."""

    name: str
    config: JobConfig
    members: dict[int, int]
    """rank -> member, of the workers that are still here."""
    dead: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Adopted:
    """A job of the switch above, with workers below this one."""

    config: JobConfig
    members: set[int]
    """Those that are still here, by the numbers of their streams."""


def missing_text(gathering: Gathering, late: Waiting) -> str:
    request = late.request
    missing = set(range(request.num_workers)) - set(gathering.waiting)
    text = (
        f"job {request.job!r}: after {request.timeout:g} s"
        f" {len(gathering.waiting)} of {request.num_workers} workers are there;"
        f" missing: {listed('rank', missing)}"
    )
    gone = missing & gathering.gave_up
    return f"{text} ({listed('rank', gone)} came and went)" if gone else text


def death(job: Running) -> Death:
    text = f"{listed('worker', job.dead)} of job {job.name!r} died: connection lost"
    return Death(tuple(sorted(job.dead)), text)


def left(job: Running) -> Left:
    text = f"{listed('worker', job.left)} of job {job.name!r} left"
    return Left(tuple(sorted(job.left)), text)


def listed(noun: str, ranks: Iterable[int]) -> str:
    numbers = sorted(ranks)
    plural = "" if len(numbers) == 1 else "s"
    return f"{noun}{plural} {', '.join(map(str, numbers))}"
