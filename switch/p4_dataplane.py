"""Jobs on a P4 switch: they become entries of its tables.

The counterpart of `pipeline.Pipeline`: it allots rows, slots and epochs. How entries
reach the switch is the business of `p4_tables.Tables`.
"""

from collections.abc import Mapping
from dataclasses import replace

from switch import p4_tables
from switch.codes import objections_to_tables
from switch.config import Address, JobConfig, SwitchConfig
from switch.p4_tables import (
    COUNTERS,
    COUNTERS_PER_JOB,
    MAX_JOBS,
    SLOT_BYTES_WITHOUT_LOOP,
    Entry,
    Place,
    Station,
    Tables,
)
from switch.protocol import DEFAULT_PORT, Rule
from switch.stragglers import Lateness
from switch.tree import objections_to_tree, ranks_behind

NO_JOB = 0  # the row that counts packets of no known job


class P4Dataplane:
    """A `control.Dataplane` in front of a P4 switch.

    The switch must be empty: rows and epochs are counted from here. `stations` has the
    place of every host that can be a worker, by its IPv4 address; `loop` is a port that
    is wired to another of the switch's, which jobs of wide slots need (p4/grow.p4).
    """

    def __init__(
        self,
        tables: Tables,
        config: SwitchConfig,
        stations: Mapping[str, Station],
        loop: int | None = None,
    ) -> None:
        _check_switch(config)
        self.config = config
        self._tables = tables
        self._stations = stations
        self._loop = loop
        self._jobs: dict[int, tuple[JobConfig, Place]] = {}
        self._counted_before: dict[int, dict[str, int]] = {}
        """By job: what its row had counted for the jobs before it."""
        self._epochs = 0
        self._last_row = NO_JOB
        for job in config.jobs:
            self.install(job)

    def install(self, job: JobConfig) -> None:
        """Give the job its slots and bind its workers.

        Raises ValueError when the job exists, or the switch cannot serve it.
        """
        self._check_job(job)
        first_slot = self._free_slots(job)
        place = Place(self._free_row(), first_slot, self._next_epoch())
        replicas = p4_tables.job_replicas(job, self._stations)
        self._tables.insert_group(place.row, replicas)
        for entry in self._own_entries(job, place):
            self._tables.insert(entry)
        self._counted_before[job.job] = self._count(place.row)
        # The job's own entry comes last, so that no packet meets half a job.
        self._tables.insert(self._entry(job, place))
        self._jobs[job.job] = job, place

    def remove(self, job: int) -> None:
        """Free the job's slots; its packets are of an unknown job from now on.

        What it counted stays in the totals of the switch.
        """
        config, place = self._find(job)
        self._tables.delete(self._entry(config, place))
        for entry in self._own_entries(config, place):
            self._tables.delete(entry)
        self._tables.delete_group(place.row)
        del self._jobs[job]

    def reset(self, job: int) -> None:
        """Forget what the job's slots hold: it is of an epoch that is over."""
        config, place = self._find(job)
        place = replace(place, epoch=self._next_epoch())
        self._tables.modify(self._entry(config, place))
        self._jobs[job] = config, place

    def lateness(self, job: int) -> list[Lateness]:
        """Nothing: the program has no clock."""
        return []

    def counters(self, job: int | None = None) -> dict[str, int]:
        """Packets counted by what became of them: of one job, or of all.

        `damaged` are those that a host's kernel would not have let through: the
        checksum is wrong, or the packet is shorter than it says.
        """
        if job is None:
            rows = [self._count(row) for row in range(self._last_row + 1)]
            return {name: sum(row[name] for row in rows) for name in COUNTERS}
        _, place = self._find(job)
        before = self._counted_before[job]
        counted = self._count(place.row)
        return {name: counted[name] - before[name] for name in COUNTERS}

    def _entry(self, job: JobConfig, place: Place) -> Entry:
        loop, stations = self._loop or 0, self._stations
        return p4_tables.job_entry(job, self.config.rule, place, loop, stations)

    def _own_entries(self, job: JobConfig, place: Place) -> list[Entry]:
        """Beside the job's entry itself."""
        children = p4_tables.child_entries(job, place, self._stations)
        tree = p4_tables.tree_entries(job, place, self._stations)
        return [*children, *tree, *p4_tables.code_entries(job)]

    def _count(self, row: int) -> dict[str, int]:
        first = row * COUNTERS_PER_JOB
        return {
            name: sum(self._tables.read_counter(array, first + at) for at in places)
            for name, (array, places) in COUNTERS.items()
        }

    def _find(self, job: int) -> tuple[JobConfig, Place]:
        if job not in self._jobs:
            known = ", ".join(str(job) for job in self._jobs) or "none"
            raise ValueError(f"job {job} does not exist; the switch's jobs: {known}")
        return self._jobs[job]

    def _check_job(self, job: JobConfig) -> None:
        if job.job in self._jobs:
            raise ValueError(f"job {job.job} exists already")
        if job.slot_bytes > p4_tables.SLOT_BYTES:
            raise ValueError(
                f"job {job.job}: slot_bytes {job.slot_bytes} is more than the P4"
                f" program's {p4_tables.SLOT_BYTES}"
            )
        if job.slot_bytes > SLOT_BYTES_WITHOUT_LOOP and self._loop is None:
            raise ValueError(
                f"job {job.job}: slot_bytes {job.slot_bytes} is more than"
                f" {SLOT_BYTES_WITHOUT_LOOP}, which takes two ports wired to each other"
            )
        if job.straggler_timeout > 0:
            raise ValueError(
                f"job {job.job}: the P4 program waits for every worker: no"
                " straggler_timeout"
            )
        if job.tree is not None and self.config.rule != Rule.SAFE:
            raise ValueError(f"job {job.job}: trees of switches take the rule safe")
        for objection in (
            *objections_to_tree(job),
            *objections_to_tables(job.code4, job.code8, job.num_workers),
        ):
            raise ValueError(f"job {job.job}: {objection}")
        for address, _ in bound_addresses(job):
            if address not in self._stations:
                raise ValueError(f"job {job.job}: no port leads to {address}")
        self._check_room(job)

    def _check_room(self, job: JobConfig) -> None:
        """For the job's entries in the program's tables."""
        others = [config for config, _ in self._jobs.values()]
        for what, size, count in (
            ("workers and switches", p4_tables.NUM_BINDINGS, num_bindings),
            ("ranks", p4_tables.NUM_RANKS, num_ranks),
        ):
            left = size - sum(map(count, others))
            if count(job) > left:
                raise ValueError(
                    f"job {job.job}: {count(job)} {what}, but the P4 program's tables"
                    f" have room for {left} more"
                )

    def _next_epoch(self) -> int:
        """Never one that a register may still have."""
        self._epochs += 1
        return self._epochs

    def _free_row(self) -> int:
        taken = {place.row for _, place in self._jobs.values()}
        if len(taken) == MAX_JOBS:
            raise ValueError(f"the P4 program serves at most {MAX_JOBS} jobs at once")
        row = min(set(range(1, MAX_JOBS + 1)) - taken)
        self._last_row = max(self._last_row, row)
        return row

    def _free_slots(self, job: JobConfig) -> int:
        """First fit between the slot ranges of the jobs."""
        wanted = job.num_slots
        ranges = sorted(
            (place.first_slot, job.num_slots) for job, place in self._jobs.values()
        )
        start = 0
        for first, count in ranges:
            if first - start >= wanted:
                break
            start = first + count
        if start + wanted > self.config.num_slots:
            used = sum(count for _, count in ranges)
            raise ValueError(
                f"job {job.job}: {wanted} slots asked for, but of the switch's "
                f"{self.config.num_slots} slots {used} are in use"
            )
        return start


def bound_addresses(job: JobConfig) -> list[Address]:
    """Of the job's children, and of its parent."""
    parent = p4_tables.parent_of(job)
    return [*job.workers, *([parent] if parent else [])]


def num_bindings(job: JobConfig) -> int:
    return len(bound_addresses(job))


def num_ranks(job: JobConfig) -> int:
    """That the program has to know the children of."""
    return sum(map(len, ranks_behind(job))) if job.tree else 0


def _check_switch(config: SwitchConfig) -> None:
    """What the program in `p4/` is compiled for."""
    if config.num_slots > p4_tables.NUM_SLOTS:
        raise ValueError(
            f"num_slots {config.num_slots} is more than the P4 program's"
            f" {p4_tables.NUM_SLOTS} (sizes.p4)"
        )
    if config.port != DEFAULT_PORT:
        raise ValueError(
            f"port {config.port}: the P4 program takes packets at UDP port"
            f" {DEFAULT_PORT} (sizes.p4)"
        )
