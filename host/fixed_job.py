"""A worker's place in a job, and that of one in a job from a switch's file.

Nobody joins such a job, and nobody says who has died or left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from host.controller import Lateness, counters, lateness
from switch.codes import Table

Address = tuple[str, int]


class Place(Protocol):
    """What a network must know of a worker's place in a job."""

    job: int
    """Id in the header."""
    rank: int
    num_workers: int
    num_slots: int
    slot_bytes: int
    code4: Table | None
    code8: Table | None
    window: int
    """Chunks to have outstanding at most."""
    behind: Sequence[tuple[int, ...]]
    """The ranks that each child of the worker's switch leads to, by its bit."""
    is_below: bool
    """Whether that switch has one above it."""
    group: Address | None
    left: tuple[int, ...]
    dead: tuple[int, ...]

    def failure(self) -> str | None: ...
    def fileno(self) -> int: ...
    def acknowledge(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def lateness(self) -> list[Lateness]: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...


@dataclass(kw_only=True)
class FixedPlace:
    """See `Place`. All of it as the switch's file has it."""

    switch: str
    """HOST:PORT of the worker's switch, where its control plane is asked for counters.
    """
    job: int
    rank: int
    num_workers: int
    num_slots: int
    slot_bytes: int
    behind: Sequence[tuple[int, ...]] = ()
    """Left out: all workers are at this switch."""
    is_below: bool = False
    code4: Table | None = None
    code8: Table | None = None
    window: int = field(init=False)
    """num_slots."""
    group: Address | None = field(default=None, init=False)
    left: tuple[int, ...] = field(default=(), init=False)
    dead: tuple[int, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.window = self.num_slots
        self.behind = self.behind or [(rank,) for rank in range(self.num_workers)]

    def failure(self) -> str | None:
        return None

    def fileno(self) -> int:
        """None: nothing is ever told."""
        return -1

    def acknowledge(self) -> None:
        pass

    def counters(self) -> dict[str, int]:
        """Of the job, at the worker's switch."""
        return counters(self.switch, self.job)

    def lateness(self) -> list[Lateness]:
        """Likewise."""
        return lateness(self.switch, self.job)

    def leave(self) -> None:
        pass

    def close(self) -> None:
        pass
