"""The control plane: who is in which job, and what the data path is told of it.

Sans-IO: it takes `now`, and what it has to say to a worker lies in `take_events()`.
Driven by three sources: requests (join, leave, reset, counters), streams that break
(`disconnect`), and one timer (`next_timeout`, `on_timeout`). gRPC is in `service.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from secrets import randbits
from typing import Protocol

from switch.admission import JoinRequest, Refusal, check_alone, check_together, numeric
from switch.config import Address, JobConfig, SwitchConfig, group_of
from switch.protocol import HEADER_BYTES, Overflow

MAX_JOB = 65535


class Dataplane(Protocol):
    """What the control plane programs: the emulator's pipeline, or a P4 switch.

    The fixed jobs of its SwitchConfig are installed from the start.
    """

    def install(self, job: JobConfig) -> None:
        """Give the job slots and bind its workers. ValueError: no slots left."""

    def remove(self, job: int) -> None:
        """Forget the job; its slots are free."""

    def reset(self, job: int) -> None:
        """Empty the job's registers; its sequences begin at 0 again."""

    def counters(self, job: int | None = None) -> dict[str, int]:
        """Packets by what became of them. None: of the whole switch."""


@dataclass(frozen=True, slots=True)
class Joined:
    """All workers of the job are there."""

    member: int
    job: JobConfig
    data: Address
    """The switch's own; may be the unspecified address."""
    window: int
    """How many chunks a worker should have outstanding at most."""


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


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A worker that waits for the others."""

    member: int
    request: JoinRequest
    deadline: float


@dataclass(slots=True)
class _Gathering:
    """The workers of a job that has not begun. Never empty."""

    name: str
    waiting: dict[int, _Waiting] = field(default_factory=dict)
    """By rank."""
    gave_up: set[int] = field(default_factory=set)
    """Ranks that were here and are not: named apart from those that never came."""


@dataclass(slots=True)
class _Running:
    """A job with slots. Ends when `members` is empty."""

    name: str
    config: JobConfig
    members: dict[int, int]
    """rank -> member, of the workers that are still here."""
    dead: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)


class Control:
    """The jobs of one switch. Not thread-safe: callers hold the switch's lock.

    `dataplane` has the fixed jobs of `config` already. `receive_bytes` is what the
    switch's socket can queue; the recommended window keeps a job's packets within it.
    `multicast`: a job whose workers all can receive from a multicast group gets one.
    `most_outstanding`: chunks of one worker, if the switch's ports limit them.
    """

    def __init__(
        self,
        config: SwitchConfig,
        dataplane: Dataplane,
        *,
        receive_bytes: int | None = None,
        multicast: bool = False,
        most_outstanding: int | None = None,
    ) -> None:
        self._config = config
        self._dataplane = dataplane
        self._receive_bytes = receive_bytes
        self._multicast = multicast
        self._most_outstanding = most_outstanding
        self._fixed = {job.job: job for job in config.jobs}
        self._gatherings: dict[str, _Gathering] = {}
        self._running: dict[int, _Running] = {}
        self._places: dict[int, tuple[_Gathering | _Running, int]] = {}
        self._last_job = 0
        self._events: list[tuple[int, Event]] = []

    def join(self, request: JoinRequest, now: float) -> int:
        """Number of the new member. Joined or Refused follows as an event."""
        member = randbits(63)  # who knows it may leave in its name
        try:
            self._admit(request, member, now)
        except Refusal as refusal:
            self._tell([member], Refused(str(refusal)))
        return member

    def leave(self, member: int) -> None:
        """The worker needs nothing more. Raises Refusal if it is in no job."""
        if member not in self._places:
            raise Refusal(f"member {member} is in no job")
        self._part(member, died=False)

    def disconnect(self, member: int) -> None:
        """The member's stream is gone: a death, unless it left or was refused."""
        if member in self._places:
            self._part(member, died=True)

    def next_timeout(self) -> float | None:
        """When `on_timeout` has something to do, or None."""
        return min(
            (waiting.deadline for _, waiting in self._all_waiting()), default=None
        )

    def on_timeout(self, now: float) -> None:
        """Refuse the workers that have waited long enough, naming the missing ranks."""
        late = [pair for pair in self._all_waiting() if pair[1].deadline <= now]
        reasons = [_missing_text(gathering, waiting) for gathering, waiting in late]
        for (_, waiting), reason in zip(late, reasons, strict=True):
            self._part(waiting.member, died=True)
            self._tell([waiting.member], Refused(reason, timed_out=True))

    def reset(self, job: int, token: str = "") -> None:
        """Start a fixed job afresh. Raises Refusal for any other."""
        objection = self._config.security.objection(str(job), token)
        if objection is not None:
            raise Refusal(objection)
        if job in self._running:
            raise Refusal(
                f"job {job} ({self._running[job].name!r}) was joined by its workers:"
                " let them leave and join again"
            )
        self._check_known(job)
        self._dataplane.reset(job)

    def counters(self, job: int | None = None) -> dict[str, int]:
        """Of a job, or of the whole switch. Raises Refusal if there is no such job."""
        if job is not None:
            self._check_known(job)
        return self._dataplane.counters(job)

    def close(self) -> None:
        """Tell every worker that the switch stops; forget them all."""
        self._tell(list(self._places), Closing())
        self._places.clear()
        self._gatherings.clear()
        for job in list(self._running):
            self._end(job)

    def take_events(self) -> list[tuple[int, Event]]:
        """What to tell whom since the last call: (member, event), in order."""
        events, self._events = self._events, []
        return events

    # joining

    def _admit(self, request: JoinRequest, member: int, now: float) -> None:
        check_alone(request, self._config)
        self._check_name_free(request)
        self._check_slots_left(request)
        gathering = self._gatherings.get(request.job) or _Gathering(request.job)
        others = gathering.waiting.values()
        check_together(request, [waiting.request for waiting in others])
        self._gatherings[request.job] = gathering
        gathering.waiting[request.rank] = _Waiting(
            member, request, now + request.timeout
        )
        gathering.gave_up.discard(request.rank)
        self._places[member] = gathering, request.rank
        if len(gathering.waiting) == request.num_workers:
            self._begin(gathering)

    def _check_name_free(self, request: JoinRequest) -> None:
        # A job that somebody left or died in is ending: whoever is out of it may
        # gather for the next one of that name, which gets an id of its own.
        for job in self._running.values():
            ending = job.dead or job.left
            if job.name == request.job and (not ending or request.rank in job.members):
                ranks = _listed("worker", job.members)
                raise Refusal(
                    f"job {request.job!r} is running ({ranks}): choose another name,"
                    " or wait until every worker has left"
                )

    def _check_slots_left(self, request: JoinRequest) -> None:
        configs = [
            *self._fixed.values(),
            *(job.config for job in self._running.values()),
        ]
        free = self._config.num_slots - sum(config.num_slots for config in configs)
        if request.num_slots > free:
            raise Refusal(
                f"num_slots {request.num_slots}: {free} of the switch's"
                f" {self._config.num_slots} slots are free"
            )

    def _begin(self, gathering: _Gathering) -> None:
        """Everybody is there: allot id and slots, bind addresses, answer."""
        del self._gatherings[gathering.name]
        waiting = [gathering.waiting[rank] for rank in sorted(gathering.waiting)]
        members = {entry.request.rank: entry.member for entry in waiting}
        try:
            job = self._install([entry.request for entry in waiting])
        except Refusal as refusal:
            for member in members.values():
                del self._places[member]
            self._tell(members.values(), Refused(str(refusal)))
            return
        running = _Running(gathering.name, job, members)
        self._running[job.job] = running
        for rank, member in members.items():
            self._places[member] = running, rank
            self._tell([member], self._welcome(member, job))

    def _install(self, requests: list[JoinRequest]) -> JobConfig:
        first = requests[0]
        number = self._free_job()
        multicast = self._multicast and all(request.multicast for request in requests)
        job = JobConfig(
            job=number,
            workers=tuple(numeric(request.data) for request in requests),
            num_slots=first.num_slots,
            slot_bytes=first.slot_bytes,
            overflow=Overflow(first.overflow),
            code4=first.code4,
            code8=first.code8,
            group=group_of(number, self._config.port) if multicast else None,
        )
        try:
            self._dataplane.install(job)
        except ValueError as error:
            raise Refusal(str(error)) from error
        self._last_job = job.job
        return job

    def _free_job(self) -> int:
        """The next id. Counting up keeps packets of an old job off a new one."""
        for step in range(MAX_JOB):
            job = (self._last_job + step) % MAX_JOB + 1
            if job not in self._fixed and job not in self._running:
                return job
        raise Refusal(f"all {MAX_JOB} job ids are in use")

    def _welcome(self, member: int, job: JobConfig) -> Joined:
        data = (self._config.address, self._config.port)
        return Joined(member, job, data, self._window(job))

    def _window(self, job: JobConfig) -> int:
        window = job.num_slots
        if self._receive_bytes is not None:
            burst = len(job.workers) * (HEADER_BYTES + job.slot_bytes)
            window = max(1, min(window, self._receive_bytes // burst))
        if self._most_outstanding is not None:
            window = min(window, self._most_outstanding)
        return window

    # parting

    def _part(self, member: int, *, died: bool) -> None:
        place, rank = self._places.pop(member)
        if isinstance(place, _Gathering):
            self._give_up(place, rank)
        else:
            self._lose(place, rank, died=died)

    def _give_up(self, gathering: _Gathering, rank: int) -> None:
        del gathering.waiting[rank]
        gathering.gave_up.add(rank)
        if not gathering.waiting:
            del self._gatherings[gathering.name]

    def _lose(self, job: _Running, rank: int, *, died: bool) -> None:
        # Results are replayed to the others as long as one of them is here.
        del job.members[rank]
        (job.dead if died else job.left).add(rank)
        if not job.members:
            self._end(job.config.job)
            return
        self._tell(job.members.values(), _death(job) if died else _left(job))

    def _end(self, job: int) -> None:
        del self._running[job]
        self._dataplane.remove(job)

    # small things

    def _tell(self, members: Iterable[int], event: Event) -> None:
        self._events.extend((member, event) for member in members)

    def _all_waiting(self) -> Iterator[tuple[_Gathering, _Waiting]]:
        for gathering in self._gatherings.values():
            for waiting in gathering.waiting.values():
                yield gathering, waiting

    def _check_known(self, job: int) -> None:
        known = sorted([*self._fixed, *self._running])
        if job not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise Refusal(f"job {job} does not exist; jobs of this switch: {listed}")


def _missing_text(gathering: _Gathering, late: _Waiting) -> str:
    request = late.request
    missing = set(range(request.num_workers)) - set(gathering.waiting)
    text = (
        f"job {request.job!r}: after {request.timeout:g} s"
        f" {len(gathering.waiting)} of {request.num_workers} workers are there;"
        f" missing: {_listed('rank', missing)}"
    )
    gone = missing & gathering.gave_up
    return f"{text} ({_listed('rank', gone)} came and went)" if gone else text


def _death(job: _Running) -> Death:
    text = f"{_listed('worker', job.dead)} of job {job.name!r} died: connection lost"
    return Death(tuple(sorted(job.dead)), text)


def _left(job: _Running) -> Left:
    text = f"{_listed('worker', job.left)} of job {job.name!r} left"
    return Left(tuple(sorted(job.left)), text)


def _listed(noun: str, ranks: Iterable[int]) -> str:
    numbers = sorted(ranks)
    plural = "" if len(numbers) == 1 else "s"
    return f"{noun}{plural} {', '.join(map(str, numbers))}"
