"""The control plane: who is in which job, and what the data path is told of it.

Sans-IO: it takes `now`, and what it has to say to a worker lies in `take_events()`.
Driven by three sources: requests (join, leave, reset, counters), streams that break
(`disconnect`), and one timer (`next_timeout`, `on_timeout`). gRPC is in `service.py`.
"""

from collections.abc import Collection, Iterable, Iterator
from secrets import randbits
from typing import Protocol

from switch.admission import JoinRequest, Refusal, check_alone, check_together, numeric
from switch.config import Address, JobConfig, SwitchConfig, group_of
from switch.events import Closing, Event, Joined, Refused
from switch.joined_jobs import (
    Adopted,
    Gathering,
    Running,
    Waiting,
    death,
    left,
    listed,
    missing_text,
)
from switch.joined_tree import jobs_at, way_to
from switch.protocol import HEADER_BYTES, Overflow
from switch.stragglers import Lateness

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

    def lateness(self, job: int) -> list[Lateness]:
        """Of each of the job's children; nothing, if the switch does not measure it."""


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
        self._gatherings: dict[str, Gathering] = {}
        self._running: dict[int, Running] = {}
        self._adopted: dict[int, Adopted] = {}
        self._places: dict[int, tuple[Gathering | Running, int]] = {}
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
        reasons = [missing_text(gathering, waiting) for gathering, waiting in late]
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

    def lateness(self, job: int) -> list[Lateness]:
        """How late each worker is, or switch below. Raises Refusal: no such job."""
        self._check_known(job)
        return self._dataplane.lateness(job)

    def close(self) -> None:
        """Tell every worker that the switch stops; forget them all."""
        self._tell(list(self._places), Closing())
        self._places.clear()
        self._gatherings.clear()
        for job in list(self._running):
            self._end(job)
        for job in list(self._adopted):
            self._abandon(job)

    def take_events(self) -> list[tuple[int, Event]]:
        """What to tell whom since the last call: (member, event), in order."""
        events, self._events = self._events, []
        return events

    # joining

    def _admit(self, request: JoinRequest, member: int, now: float) -> None:
        self.check(request)
        self._check_name_free(request)
        gathering = self._gatherings.get(request.job) or Gathering(request.job)
        others = gathering.waiting.values()
        check_together(request, [waiting.request for waiting in others])
        self._gatherings[request.job] = gathering
        gathering.waiting[request.rank] = Waiting(
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
                ranks = listed("worker", job.members)
                raise Refusal(
                    f"job {request.job!r} is running ({ranks}): choose another name,"
                    " or wait until every worker has left"
                )

    def _check_slots_left(self, request: JoinRequest) -> None:
        used = sum(config.num_slots for config in self._configs())
        free = self._config.num_slots - used
        if request.num_slots > free:
            raise Refusal(
                f"num_slots {request.num_slots}: {free} of the switch's"
                f" {self._config.num_slots} slots are free"
            )

    def _begin(self, gathering: Gathering) -> None:
        """Everybody is there: allot id and slots, bind addresses, answer."""
        del self._gatherings[gathering.name]
        waiting = [gathering.waiting[rank] for rank in sorted(gathering.waiting)]
        members = {entry.request.rank: entry.member for entry in waiting}
        requests = [entry.request for entry in waiting]
        try:
            jobs = self._install(requests)
        except Refusal as refusal:
            for member in members.values():
                del self._places[member]
            self._tell(members.values(), Refused(str(refusal)))
            return
        running = Running(gathering.name, jobs[self.data], members)
        self._running[running.config.job] = running
        for request, (rank, member) in zip(requests, members.items(), strict=True):
            self._places[member] = running, rank
            places = tuple(jobs[switch] for switch in way_to(request))
            self._tell([member], self.welcome(member, running.config, places))

    def _install(self, requests: list[JoinRequest]) -> dict[Address, JobConfig]:
        """The job at this switch, which has it now, and at those below."""
        first = requests[0]
        number = self._free_job()
        job = JobConfig(
            job=number,
            workers=tuple(numeric(request.data) for request in requests),
            num_slots=first.num_slots,
            slot_bytes=first.slot_bytes,
            overflow=Overflow(first.overflow),
            code4=first.code4,
            code8=first.code8,
            group=self.group(number, requests),
            straggler_timeout=first.straggler_timeout,
        )
        jobs = jobs_at(self.data, job, requests)
        self._install_here(jobs[self.data])
        self._last_job = number
        return jobs

    def _install_here(self, job: JobConfig) -> None:
        try:
            self._dataplane.install(job)
        except ValueError as error:
            raise Refusal(str(error)) from error

    def group(self, job: int, requests: Iterable[JoinRequest]) -> Address | None:
        """That of a job, if all who get its results from here can receive from one."""
        able = all(request.multicast and not request.via for request in requests)
        port = self._config.port
        return group_of(job, port) if able and self._multicast else None

    def _free_job(self) -> int:
        """The next id. Counting up keeps packets of an old job off a new one."""
        for step in range(MAX_JOB):
            job = (self._last_job + step) % MAX_JOB + 1
            if not any(job in each for each in self._known):
                return job
        raise Refusal(f"all {MAX_JOB} job ids are in use")

    def welcome(
        self, member: int, job: JobConfig, places: tuple[JobConfig, ...] = ()
    ) -> Joined:
        return Joined(member, job, self.data, self._window(job), places)

    def _window(self, job: JobConfig) -> int:
        window = job.num_slots
        if self._receive_bytes is not None:
            burst = len(job.workers) * (HEADER_BYTES + job.slot_bytes)
            window = max(1, min(window, self._receive_bytes // burst))
        if self._most_outstanding is not None:
            window = min(window, self._most_outstanding)
        return window

    # jobs of the switch above

    def check(self, request: JoinRequest) -> None:
        """Raise Refusal for what this switch could not grant."""
        check_alone(request, self._config)
        self._check_slots_left(request)

    def adopt(self, job: JobConfig, members: Iterable[int]) -> JobConfig:
        """Have a job of the switch above until its last member has gone.

        The job as it is here, also if it has been since before. Raises Refusal if it
        does not fit.
        """
        if job.job in self._adopted:
            return self._adopted[job.job].config
        if any(job.job in each for each in self._known):
            raise Refusal(f"job id {job.job} of the switch above is in use here")
        self._install_here(job)
        self._adopted[job.job] = Adopted(job, set(members))
        return job

    def forget(self, member: int) -> None:
        """A member of the switch above, who may be in a job, has gone."""
        for job, adopted in list(self._adopted.items()):
            adopted.members.discard(member)
            if not adopted.members:
                self._abandon(job)

    def _abandon(self, job: int) -> None:
        del self._adopted[job]
        self._dataplane.remove(job)

    # parting

    def _part(self, member: int, *, died: bool) -> None:
        place, rank = self._places.pop(member)
        if isinstance(place, Gathering):
            self._give_up(place, rank)
        else:
            self._lose(place, rank, died=died)

    def _give_up(self, gathering: Gathering, rank: int) -> None:
        del gathering.waiting[rank]
        gathering.gave_up.add(rank)
        if not gathering.waiting:
            del self._gatherings[gathering.name]

    def _lose(self, job: Running, rank: int, *, died: bool) -> None:
        # Results are replayed to the others as long as one of them is here.
        del job.members[rank]
        (job.dead if died else job.left).add(rank)
        if not job.members:
            self._end(job.config.job)
            return
        self._tell(job.members.values(), death(job) if died else left(job))

    def _end(self, job: int) -> None:
        del self._running[job]
        self._dataplane.remove(job)

    # small things

    def _tell(self, members: Iterable[int], event: Event) -> None:
        self._events.extend((member, event) for member in members)

    @property
    def data(self) -> Address:
        return self._config.address, self._config.port

    def _configs(self) -> Iterator[JobConfig]:
        yield from self._fixed.values()
        yield from (job.config for job in self._running.values())
        yield from (job.config for job in self._adopted.values())

    @property
    def _known(self) -> tuple[Collection[int], ...]:
        """Numbers of jobs, of each sort."""
        return self._fixed, self._running, self._adopted

    def _all_waiting(self) -> Iterator[tuple[Gathering, Waiting]]:
        for gathering in self._gatherings.values():
            for waiting in gathering.waiting.values():
                yield gathering, waiting

    def _check_known(self, job: int) -> None:
        known = sorted(job for each in self._known for job in each)
        if job not in known:
            jobs = ", ".join(map(str, known)) or "none"
            raise Refusal(f"job {job} does not exist; jobs of this switch: {jobs}")
