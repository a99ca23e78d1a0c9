"""A data plane that remembers what the control plane told it."""

from switch.config import JobConfig
from switch.stragglers import Lateness


class FakeDataplane:
    def __init__(self, *jobs: JobConfig, full: bool = False) -> None:
        self.full = full
        self.jobs = {job.job: job for job in jobs}
        self.calls: list[tuple[str, int]] = []

    def install(self, job: JobConfig) -> None:
        if self.full:
            raise ValueError("no contiguous slots are left")
        self.calls.append(("install", job.job))
        self.jobs[job.job] = job

    def remove(self, job: int) -> None:
        self.calls.append(("remove", job))
        del self.jobs[job]

    def reset(self, job: int) -> None:
        self.calls.append(("reset", job))

    def lateness(self, job: int) -> list[Lateness]:
        return [Lateness((0,), 3, 0.5, 1)]

    def counters(self, job: int | None = None) -> dict[str, int]:
        return {"accepted": 0 if job is None else job}
