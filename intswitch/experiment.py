"""What a training is asked for, and what is known when it is over. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Option = str | int | float | bool

PHASES = ("compute", "wait", "compress", "communicate", "decompress")
"""Where a step's time goes. `wait`: at a barrier, until the
slowest worker has its gradient, too; a round trip is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training run. None: as the workload likes it."""

    workload: str = "mnist"
    compressor: str = "intsgd"
    options: dict[str, Option] = field(default_factory=dict)
    """Of the compressor."""
    seed: int = 0
    """Of initial weights, data order and random rounding."""
    steps: int | None = None
    epochs: float | None = None
    """Instead of steps."""
    batch_size: int | None = None
    """Of one worker."""
    lr: float | None = None
    momentum: float | None = None
    evaluations: int = 20
    """How often the test set is tried, evenly over the run."""

    @property
    def label(self) -> str:
        """How tables and figures call the method: `intsgd int8 random`."""
        values = [
            value if isinstance(value, str) else f"{name}={value}"
            for name, value in sorted(self.options.items())
        ]
        given = {"lr": self.lr, "momentum": self.momentum}
        own = [
            f"{name}={value:g}" for name, value in given.items() if value is not None
        ]
        return " ".join([self.compressor, *values, *own])


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What the workers have made of the training's open choices."""

    steps: int
    parameters: int
    batch_size: int
    lr: float
    momentum: float
    metric: str
    """accuracy or loss."""
    loss_name: str
    """What the evaluated loss is: test loss, objective gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The whole test set after `step` steps."""

    step: int
    loss: float
    accuracy: float | None
    """0 to 1; None: the workload has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What one worker knows in the end. Lists have an entry a step."""

    losses: list[float]
    bytes_up: list[int]
    """Sent in this step, headers included, retransmissions not."""
    bytes_down: list[int]
    largest_integers: list[int]
    """Largest absolute integer of this step's own contribution, before clipping."""
    largest_sum: int
    seconds: dict[str, float]
    """In each of `PHASES`, over all steps."""
    packets_sent: int
    """To the switch, in the whole job: of steps, barriers and the check of the weights,
    which `counters` counts, too. `exact` averages past the switch, and has the rest."""
    packets_received: int
    retransmissions: int
    clips: int
    overflows: int
    weights: str
    """Digest of the final weights; equal on all workers, or they would have failed."""
    counters: dict[str, int]
    """The job's at the switch, in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One training, all workers taken together."""

    training: Training
    started: Started
    evaluations: list[Evaluated]
    workers: list[Finished]
    """By rank."""
    wall_seconds: float
    """From the first step to the last, evaluations included."""

    @property
    def num_workers(self) -> int:
        return len(self.workers)

    @property
    def losses(self) -> list[float]:
        """Training loss of every step, mean over the workers."""
        return [
            sum(losses) / len(losses)
            for losses in zip(*(worker.losses for worker in self.workers), strict=True)
        ]

    @property
    def largest_integers(self) -> list[int]:
        """Of every step, over the workers."""
        return [
            max(integers)
            for integers in zip(
                *(worker.largest_integers for worker in self.workers), strict=True
            )
        ]

    @property
    def largest_integer(self) -> int:
        """After the first step, in which IntSGD has no estimate of its scale yet."""
        return max(self.largest_integers[1:], default=0)

    @property
    def bytes_up(self) -> float:
        """A worker and step, on average."""
        return self._per_worker_and_step("bytes_up")

    @property
    def bytes_down(self) -> float:
        return self._per_worker_and_step("bytes_down")

    def _per_worker_and_step(self, name: str) -> float:
        total = sum(sum(getattr(worker, name)) for worker in self.workers)
        return total / (self.num_workers * max(1, self.started.steps))

    @property
    def bits_per_coordinate(self) -> float:
        """On the wire, up, headers included."""
        return 8.0 * self.bytes_up / self.started.parameters

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of a step, by phase, mean over the workers."""
        steps = self.num_workers * max(1, self.started.steps)
        return {
            phase: 1e3 * sum(worker.seconds[phase] for worker in self.workers) / steps
            for phase in PHASES
        }

    @property
    def score(self) -> float:
        """What the comparison's table shows: the final accuracy, or the final loss."""
        last = self.evaluations[-1]
        if self.started.metric == "accuracy" and last.accuracy is not None:
            return last.accuracy
        return last.loss

    def total(self, name: str) -> int:
        """A counter of `Finished`, summed over the workers."""
        return sum(getattr(worker, name) for worker in self.workers)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        derived = {
            "method": self.training.label,
            "score": self.score,
            "bytes_up_per_worker_and_step": self.bytes_up,
            "bytes_down_per_worker_and_step": self.bytes_down,
            "bits_per_coordinate": self.bits_per_coordinate,
            "milliseconds_per_step": self.milliseconds,
            "largest_integer": self.largest_integer,
        }
        return {**derived, **asdict(self)}
