"""How a target on a network comes to have a script's jobs, and the kit its addresses.

Two ways: the kit joins as every worker of a job, through the control plane; or the
target has fixed jobs, written down in a file in the form of the switch's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Protocol

import host.controller
from host.channel import SwitchRefused
from host.controller import JoinRefused, Membership
from intswitch.conformance.script import STRANGER, Script
from intswitch.conformance.target import Places, Skip, Violation
from intswitch.conformance.udp import address_of, listens
from switch.admission import text_of
from switch.codes import TABLE_SIZES, Table
from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import MAX_WORKERS

JOIN_TIMEOUT = 10.0  # seconds; all workers join at the same time
MAX_JOB = 65535
MAX_PORT = 65535
JOB_NUMBERS = count(1)


class Jobs(Protocol):
    """Where the jobs of the script that is being run are on the target."""

    fresh: bool
    """Whether a job that is taken is known to be empty."""

    def places(self, config: SwitchConfig) -> Places:
        """Where to bind the workers' sockets, the stranger's too. Port 0: any."""

    def take(self, config: SwitchConfig, places: Places) -> dict[int, int]:
        """Number of a job in the script -> its number on the target."""

    def switch(self) -> Address:
        """Where to send packets. Known once jobs have been taken."""

    def renew(self, job: int) -> int:
        """Start the script's job afresh; its number on the target from now on."""

    def counters(self, number: int | None) -> dict[str, int] | None:
        """By the number on the target. None: it does not tell."""

    def unused(self, wanted: int, taken: Collection[int]) -> int:
        """A job id that the target has not: `wanted` itself, if it can be."""

    def give_back(self) -> None:
        """The script is over."""


class JoinedJobs:
    """Every worker of every script joins through the target's control plane."""

    fresh = True

    def __init__(self, endpoint: str, bind: str) -> None:
        self.endpoint = endpoint
        self.bind = bind
        self.members: dict[int, list[Membership]] = {}
        self.given: dict[int, tuple[JobConfig, list[Address]]] = {}

    def places(self, config: SwitchConfig) -> Places:
        workers = [address for job in config.jobs for address in job.workers]
        return dict.fromkeys([*workers, STRANGER], (self.bind, 0))

    def take(self, config: SwitchConfig, places: Places) -> dict[int, int]:
        for job in config.jobs:
            self.given[job.job] = job, [places[address] for address in job.workers]
        return {job: self.join(job) for job in self.given}

    def join(self, number: int) -> int:
        job, addresses = self.given[number]
        name = f"conformance {text_of(addresses[0])} {next(JOB_NUMBERS)}"

        def join_as(rank: int) -> Membership:
            return host.controller.join_job(
                self.endpoint, job=name, rank=rank, num_workers=len(addresses),
                data_address=addresses[rank], num_slots=job.num_slots,
                slot_bytes=job.slot_bytes, overflow=job.overflow.name.lower(),
                code4=job.code4, code8=job.code8, timeout=JOIN_TIMEOUT,
            )  # fmt: skip

        with ThreadPoolExecutor(MAX_WORKERS) as pool:
            joins = [pool.submit(join_as, rank) for rank in range(len(addresses))]
        self.members[number] = [join.result() for join in joins if not join.exception()]
        try:
            jobs = {join.result().job for join in joins}
        except JoinRefused as refusal:
            raise Skip(f"the target refuses the job: {refusal}") from None
        except TimeoutError as error:
            raise Violation(f"all workers have joined, and yet: {error}") from None
        if len(jobs) > 1:
            raise Violation(f"the workers of one job were given several ids: {jobs}")
        return jobs.pop()

    def switch(self) -> Address:
        return next(iter(self.members.values()))[0].switch

    def renew(self, job: int) -> int:
        self.leave(job)
        return self.join(job)

    def counters(self, number: int | None) -> dict[str, int]:
        return host.controller.counters(self.endpoint, number)

    def unused(self, wanted: int, taken: Collection[int]) -> int:
        for number in candidates(wanted):
            if number not in taken and not self.exists(number):
                return number
        raise Skip("the target has every job id in use")

    def exists(self, number: int) -> bool:
        try:
            self.counters(number)
        except SwitchRefused:
            return False
        return True

    def give_back(self) -> None:
        for job in list(self.members):
            self.leave(job)
        self.given.clear()

    def leave(self, job: int) -> None:
        members = self.members.pop(job)
        with ThreadPoolExecutor(MAX_WORKERS) as pool:
            list(pool.map(Membership.leave, members))


class FixedJobs:
    """The target has the jobs of a file; each script takes some of the right shape.

    Without a control plane, a job serves one script: nobody can reset it.
    """

    def __init__(self, config: SwitchConfig, endpoint: str, timeout: float) -> None:
        self.config = config
        self.endpoint = endpoint
        self.controlled = has_control_plane(endpoint, timeout)
        self.fresh = self.controlled
        self.used: set[int] = set()
        self.taken: dict[int, JobConfig] = {}

    def places(self, config: SwitchConfig) -> Places:
        self.taken = {}
        places: Places = {}
        for job in config.jobs:
            fixed = self.taken[job.job] = self.find(job)
            self.used.add(fixed.job)
            places |= dict(zip(job.workers, fixed.workers, strict=True))
        first = next(iter(places.values()))
        return {**places, STRANGER: (first[0], 0)}

    def find(self, job: JobConfig) -> JobConfig:
        here = {each.job for each in self.taken.values()}
        for fixed in self.config.jobs:
            free = fixed.job not in (here if self.controlled else self.used)
            if free and shape_of(fixed) == shape_of(job):
                return fixed
        tables = [f", this {name} table" for name, _ in tables_of(job)]
        raise Skip(
            f"the file has no job left with {len(job.workers)} workers, num_slots "
            f"{job.num_slots}, slot_bytes {job.slot_bytes}, overflow "
            f"{job.overflow.name.lower()}{''.join(tables)}"
        )

    def take(self, config: SwitchConfig, places: Places) -> dict[int, int]:
        if self.controlled:
            for job in self.taken:
                self.renew(job)
        return {job: fixed.job for job, fixed in self.taken.items()}

    def switch(self) -> Address:
        return address_of(self.endpoint, next(iter(self.taken.values())).workers[0])

    def renew(self, job: int) -> int:
        number: int = self.taken[job].job
        if not self.controlled:
            raise Skip("only a control plane can reset a job, and none answers")
        try:
            host.controller.reset(self.endpoint, number)
        except SwitchRefused as refusal:
            raise Skip(f"the target does not reset job {number}: {refusal}") from None
        return number

    def counters(self, number: int | None) -> dict[str, int] | None:
        if not self.controlled:
            return None
        return host.controller.counters(self.endpoint, number)

    def unused(self, wanted: int, taken: Collection[int]) -> int:
        fixed = {job.job for job in self.config.jobs} | set(taken)
        return next(each for each in candidates(wanted) if each not in fixed)

    def give_back(self) -> None:
        self.taken = {}


def candidates(wanted: int) -> Iterator[int]:
    """Job ids in the order in which to try them."""
    yield wanted
    yield from range(MAX_JOB, 0, -1)


def shape_of(job: JobConfig) -> tuple[object, ...]:
    """What must be right for a job to serve a script."""
    return (
        len(job.workers), job.num_slots, job.slot_bytes, job.overflow, job.code4,
        job.code8,
    )  # fmt: skip


def has_control_plane(endpoint: str, timeout: float) -> bool:
    """Whether one answers at the TCP port of the same number."""
    try:
        if not listens(endpoint, timeout):  # gRPC would try again for seconds
            return False
        host.controller.ping(endpoint)
    except OSError:
        return False
    return True


def need_control_plane(endpoint: str, timeout: float) -> None:
    """Raises ConnectionError where there is none."""
    if not has_control_plane(endpoint, timeout):
        raise ConnectionError(
            f"no control plane answers at {endpoint} (TCP). A target that has none "
            "needs the jobs of --jobs, and --fixed FILE here"
        )


def fixed_file(
    scripts: Iterable[Script], first: Sequence[Address], left_out: Sequence[Script] = ()
) -> str:
    """The file of a switch whose jobs serve all `scripts` without a reset.

    Workers are at the addresses `first` in turn, and at the ports that follow. Scripts
    that are `left_out` are named. Raises ValueError if the ports do not suffice.
    """
    numbers, places = count(1), addresses_from(first)
    rule, lines, num_slots, slot_bytes = "safe", [], 0, 0
    for script in scripts:
        rule = script.rule.name.lower()
        for job in script.jobs:
            workers = [text_of(next(places)) for _ in job.workers]
            lines += [
                f"  - job: {next(numbers)}  # {script.path.name}, job {job.job}",
                f"    num_slots: {job.num_slots}",
                f"    slot_bytes: {job.slot_bytes}",
                f"    overflow: {job.overflow.name.lower()}",
                f"    workers: [{', '.join(map(quoted, workers))}]",
                *(f"    {name}: {list(table)}" for name, table in tables_of(job)),
            ]
            num_slots += job.num_slots
            slot_bytes = max(slot_bytes, job.slot_bytes)
    head = [
        "# For `intswitch conformance --fixed`: one job for each job of each script.",
        *(f"# Not for {script.name}: too many slots." for script in left_out),
        "switch:",
        f"  rule: {rule}",
        f"  num_slots: {num_slots}",
        f"  slot_bytes: {slot_bytes}",
        "jobs:",
    ]
    return "\n".join([*head, *lines]) + "\n"


def tables_of(job: JobConfig) -> Iterator[tuple[str, Table]]:
    """Name and entries of the code tables that the job has."""
    for name, table in zip(TABLE_SIZES, (job.code4, job.code8), strict=True):
        if table is not None:
            yield name, table


def within(scripts: Iterable[Script], num_slots: int) -> list[Script]:
    """Without those for whose jobs not enough of so many slots are left."""
    kept = []
    for script in scripts:
        wanted = sum(job.num_slots for job in script.jobs)
        if wanted <= num_slots:
            num_slots -= wanted
            kept.append(script)
    return kept


def addresses_from(first: Sequence[Address]) -> Iterator[Address]:
    for further in count():
        for host_name, port in first:
            if port + further > MAX_PORT:
                at = text_of((host_name, port))
                raise ValueError(
                    f"--workers-at {at}: {MAX_PORT + 1 - port} ports do not suffice"
                )
            yield host_name, port + further


def quoted(address: str) -> str:
    """YAML takes an opening bracket for a list."""
    return f'"{address}"' if address.startswith("[") else address
