"""What the control plane tells the worker at the other end of a join stream."""

from dataclasses import dataclass

from switch.config import Address, JobConfig


@dataclass(frozen=True, slots=True)
class Joined:
    """All workers of the job are there."""

    member: int
    job: JobConfig
    data: Address
    """The switch's own; may be the unspecified address."""
    window: int
    """How many chunks a worker should have outstanding at most."""
    places: tuple[JobConfig, ...] = ()
    """The job at the switches between this one and the worker, the uppermost first."""


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    timed_out: bool = False
    """The others did not come in time."""


@dataclass(frozen=True, slots=True)
class Death:
    """Workers that are gone without leaving: all of them so far."""

    ranks: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """Workers that need nothing more: all of them so far."""

    ranks: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The switch stops."""


Event = Joined | Refused | Death | Left | Closing
