"""What a worker does for a training: gradients, their average, a step. Over and over.

Model and gradient are each one flat buffer, and the parameters views into it: the
compressor gets the whole gradient without a copy, and a step is two lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import intswitch
from host.compressors.base import Compressor
from host.transport import AggregationError
from intswitch import workloads
from intswitch.experiment import PHASES, Finished, Option, Started, Training
from intswitch.methods import Method
from intswitch.workloads.base import Workload

WARM_UP_ELEMENTS = 5000


class FlatModel:
    """A model whose parameters, and whose gradients, lie in one buffer each."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        parameters = dict(model.named_parameters())
        self.blocks = [(name, part.numel()) for name, part in parameters.items()]
        self.weights = torch.cat(
            [part.detach().ravel() for part in parameters.values()]
        )
        self.gradient = torch.zeros_like(self.weights)
        at = 0
        for part in parameters.values():
            here = slice(at, at + part.numel())
            part.data = self.weights[here].view_as(part)
            part.grad = self.gradient[here].view_as(part)
            at += part.numel()

    def digest(self) -> str:
        return hashlib.sha256(self.weights.numpy().tobytes()).hexdigest()[:16]


class Stopwatch:
    """Seconds spent in each phase of the steps."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.clock = clock
        self.last = clock()

    def start(self) -> None:
        self.last = self.clock()

    def lap(self, phase: str) -> None:
        now = self.clock()
        self.seconds[phase] += now - self.last
        self.last = now

    def lap_average(self, before: tuple[float, float, float], network: Any) -> None:
        """Divide the lap of `average()` by what the network has measured in it.

        Filling packets belongs to compressing, draining them to decompressing; what
        of the aggregations remains is communication, what else remains compressing.
        """
        now = self.clock()
        fill, drain, aggregate = (
            after - then for after, then in zip(clocks(network), before, strict=True)
        )
        if aggregate == 0.0:  # `exact` talks past the switch, and that is all it does
            aggregate = now - self.last
        self.seconds["communicate"] += aggregate - fill - drain
        self.seconds["decompress"] += drain
        self.seconds["compress"] += now - self.last - aggregate + fill
        self.last = now


def clocks(network: Any) -> tuple[float, float, float]:
    statistics = network.statistics
    return (
        statistics.fill_seconds,
        statistics.drain_seconds,
        statistics.aggregate_seconds,
    )


class Run:
    """One training on one worker, from the first step to the last."""

    def __init__(
        self, training: Training, compressor: Compressor, network: Any
    ) -> None:
        self.network = network
        self.workload = workloads.load(
            training.workload,
            rank=network.rank,
            num_workers=network.num_workers,
            seed=training.seed,
        )
        self.compressor = compressor
        self.flat = FlatModel(self.workload.model())
        self.velocity = torch.zeros_like(self.flat.weights)
        self.started = resolve(training, self.workload, len(self.flat.weights))
        self.every = max(1, self.started.steps // max(1, training.evaluations))
        # a simulated network has time of its own
        self.watch = Stopwatch(getattr(network, "clock", perf_counter))
        self.losses: list[float] = []
        self.bytes_up: list[int] = []
        self.bytes_down: list[int] = []
        self.largest_integers: list[int] = []

    def step(self, number: int) -> None:
        """Gradient, average over the workers, SGD with momentum."""
        self.watch.start()
        self.flat.gradient.zero_()
        batch = self.workload.batch(number, self.started.batch_size)
        loss = self.workload.loss(self.flat.model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.losses.append(loss.item())
        self.watch.lap("compute")
        self.network.barrier()
        self.watch.lap("wait")
        mean = self._average()
        self.velocity.mul_(self.started.momentum).add_(mean)
        self.flat.weights.sub_(self.velocity, alpha=self.lr(number))
        self.watch.lap("compute")

    def _average(self) -> Tensor:
        statistics = self.compressor.statistics
        up, down = statistics.bytes_up, statistics.bytes_down
        statistics.largest_integer = 0  # of this step alone
        before = clocks(self.network)
        mean = self.compressor.average(
            self.flat.gradient.numpy(), self.network, self.flat.blocks
        )
        self.watch.lap_average(before, self.network)
        self.check_sums()
        self.bytes_up.append(statistics.bytes_up - up)
        self.bytes_down.append(statistics.bytes_down - down)
        self.largest_integers.append(int(statistics.largest_integer))
        return torch.from_numpy(np.asarray(mean))

    def lr(self, step: int) -> float:
        left = 1.0 - step / self.started.steps if self.workload.anneal else 1.0
        return self.started.lr * left

    def steps(self) -> Iterator[tuple[int, bool]]:
        """Numbers of steps, from 0, and whether the test set is tried after it."""
        for number in range(self.started.steps):
            last = number + 1 == self.started.steps
            yield number, last or (number + 1) % self.every == 0

    def check_sums(self) -> None:
        """Raises AggregationError if some worker was not in all of them."""
        lacking = self.network.statistics.partial_results
        if lacking:
            raise AggregationError(
                f"{lacking} results went out without a worker that was later than the "
                "job's straggler_timeout, and a training divides by all workers: give "
                "the topology's job a longer one, or 0"
            )

    def check_weights(self) -> str:
        """The digest of the weights. Raises RuntimeError if workers disagree."""
        digests = self.network.gather(self.flat.digest().encode())
        differ = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if differ:
            raise RuntimeError(
                f"the weights of workers {differ} differ from worker 0's: averages "
                "must be bit-identical on all workers; this is a bug of the compressor"
            )
        return str(digests[0].decode())

    def check_counters(self) -> dict[str, int]:
        """The switch's counters of this job. Raises RuntimeError if it lost count.

        Every chunk took one contribution of every worker and made one result; in a tree
        of switches, one of everything below, and one result from above.
        """
        chunks = self.network.chunks
        counters: dict[str, int] = self.network.counters()
        accepted = chunks * self.network.accepted_per_chunk
        expected = {"accepted": accepted, "results": chunks}
        for name, value in expected.items():
            if counters[name] != value:
                raise RuntimeError(
                    f"the switch counted {name} = {counters[name]} where the workers "
                    f"expect {value}; this is a bug of the switch"
                )
        return counters

    def finished(self) -> Finished:
        # last what counts packets, so that it spans what the switch's counters span
        self.check_sums()
        weights, counters = self.check_weights(), self.check_counters()
        statistics, traffic = self.compressor.statistics, self.network.statistics
        return Finished(
            losses=self.losses,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            largest_integers=self.largest_integers,
            largest_sum=int(statistics.largest_sum),
            seconds=self.watch.seconds,
            packets_sent=int(traffic.packets_sent),
            packets_received=int(traffic.packets_received),
            retransmissions=int(traffic.retransmissions),
            clips=int(statistics.clips),
            overflows=int(statistics.overflows),
            weights=weights,
            counters=counters,
        )


def resolve(training: Training, workload: Workload, parameters: int) -> Started:
    """The training's choices, or the workload's where it made none."""
    batch_size = training.batch_size or workload.batch_size
    steps = training.steps or workload.steps
    if training.epochs is not None:
        steps = max(1, round(training.epochs * workload.steps_per_epoch(batch_size)))
    return Started(
        steps=steps,
        parameters=parameters,
        batch_size=batch_size,
        lr=workload.lr if training.lr is None else training.lr,
        momentum=workload.momentum if training.momentum is None else training.momentum,
        metric=workload.metric,
        loss_name=workload.loss_name,
    )


def train(send: Any, *, training: dict[str, Any], join: dict[str, Any]) -> None:
    """Task of a worker: one training, from joining the job to leaving it."""
    torch.set_num_threads(1)
    chosen = Training(**training)
    compressor = Method(chosen.compressor, chosen.options).create(chosen.seed)
    with join_with(compressor, join) as network, group(training, network):
        run = Run(chosen, compressor, network)
        send("started", **asdict(run.started))
        network.barrier()
        for number, evaluate in run.steps():
            run.step(number)
            if network.rank == 0:
                send("step", step=number + 1, loss=run.losses[-1])
            if evaluate:
                share = run.workload.evaluate(run.flat.model)
                send("evaluated", step=number + 1, **asdict(share))
        finished = run.finished()
    send("finished", **asdict(finished))


def join_with(compressor: Compressor, join: dict[str, Any]) -> Any:
    """Join with the code tables that the compressor needs: a switch, or a simulator."""
    given = join | compressor.tables(join["num_workers"])
    if "simulator" in join:
        from intswitch.sim.network import join as join_simulator

        return join_simulator(**given)
    return intswitch.join(**given)


def group(training: dict[str, Any], network: Any) -> AbstractContextManager[None]:
    """What the compressor needs beside the network: `exact` averages over gloo."""
    if training["compressor"] != "exact":
        return nullcontext()
    from intswitch.gloo import process_group

    return process_group(network)


def warm_up(
    send: Any, *, compressor: str, options: dict[str, Option], join: dict[str, Any]
) -> None:
    """Task of one worker, alone: have every kernel of this compressor compiled.

    Without it all workers would compile the same kernels at the same time.
    """
    gradient = np.linspace(-1.0, 1.0, WARM_UP_ELEMENTS, dtype=np.float32)
    task = {"compressor": compressor}
    method = Method(compressor, options).create(seed=0)
    with join_with(method, join) as network, group(task, network):
        for _ in range(2):  # the first step may differ from the others
            method.average(gradient, network, [("all", len(gradient))])
        network.gather(b"warm")
        network.barrier()
    send("warm")
