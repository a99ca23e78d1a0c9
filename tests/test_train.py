"""Whole trainings through real processes, a few steps each, on one fabric."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from host.transport import AggregationError, Statistics
from intswitch.experiment import PHASES, Evaluated, Started, Training
from intswitch.fabrics.loopback import Loopback
from intswitch.topology import load
from intswitch.train import run
from intswitch.trainer import Run

SHORT = Training(
    workload="digits",
    compressor="intsgd",
    options={"element_type": "int8"},
    steps=12,
    evaluations=3,
)
PARAMETERS = 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10


class Listening:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.begun: list[Started] = []
        self.tried: list[Evaluated] = []

    def started(self, training: Training, started: Started) -> None:
        self.begun.append(started)

    def stepped(self, step: int, loss: float) -> None:
        self.steps.append(step)

    def evaluated(self, evaluated: Evaluated) -> None:
        self.tried.append(evaluated)


def test_a_training_in_which_a_worker_was_late_says_so() -> None:
    late: Any = SimpleNamespace(statistics=Statistics(partial_results=3))
    with pytest.raises(AggregationError, match="3 results went out without a worker"):
        Run.check_sums(SimpleNamespace(network=late))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Loopback]:
    with Loopback(load("pair")) as fabric:
        yield fabric


def test_intsgd_learns_and_reports(fabric: Loopback) -> None:
    watcher = Listening()
    result = run(fabric, replace(SHORT, steps=60), watcher)
    assert result.score > 0.8
    assert watcher.steps == list(range(1, 61))
    assert watcher.begun == [result.started]
    assert watcher.tried == result.evaluations
    assert [each.step for each in result.evaluations] == [20, 40, 60]
    assert result.started.parameters == PARAMETERS
    assert len(result.losses) == 60
    assert result.losses[-1] < result.losses[0]
    assert 8 < result.bits_per_coordinate < 9
    assert result.largest_integer > 0
    chunks = result.workers[0].counters["results"]
    assert chunks > 60 * PARAMETERS // 1024
    for worker in result.workers:
        first = worker.packets_sent - worker.retransmissions
        assert first >= chunks, "both count the whole job; a few may be queries"
    assert all(result.milliseconds[phase] > 0 for phase in PHASES)


def test_repeats_bit_for_bit(fabric: Loopback) -> None:
    first, again = run(fabric, SHORT), run(fabric, SHORT)
    assert first.workers[0].weights == again.workers[0].weights
    assert first.workers[0].weights == first.workers[1].weights
    assert first.losses == again.losses
    assert first.evaluations == again.evaluations
    other = run(fabric, replace(SHORT, seed=1))
    assert other.workers[0].weights != first.workers[0].weights


def test_exact_starts_where_the_others_start(fabric: Loopback) -> None:
    exact = run(fabric, replace(SHORT, compressor="exact", options={}))
    intsgd = run(fabric, SHORT)
    assert exact.losses[0] == intsgd.losses[0]
    assert exact.losses[-1] == pytest.approx(intsgd.losses[-1], rel=0.2)
    assert exact.milliseconds["communicate"] > 0
    assert exact.milliseconds["compress"] == exact.milliseconds["decompress"] == 0
    assert exact.workers[0].weights == exact.workers[1].weights


def test_epochs(fabric: Loopback) -> None:
    training = replace(SHORT, steps=None, epochs=0.5, batch_size=64, evaluations=1)
    result = run(fabric, training)
    assert result.started.steps == round(0.5 * (1437 // 128))
    assert len(result.evaluations) == 1


def test_loss_changes_nothing_but_time(fabric: Loopback) -> None:
    with Loopback(load("pair").with_loss(0.02)) as lossy:
        result = run(lossy, SHORT)
    assert result.total("retransmissions") > 0
    assert result.workers[0].weights == run(fabric, SHORT).workers[0].weights


@pytest.mark.parametrize("compressor", ["fastsgd", "natural"])
def test_codes_train_as_integers_do(fabric: Loopback, compressor: str) -> None:
    """The workers join with the tables that the codes need."""
    base = replace(SHORT, compressor=compressor, steps=60)
    codes, integers = (
        run(fabric, replace(base, options={"wire": wire}))
        for wire in ("codes", "integers")
    )
    assert codes.score > 0.8
    assert codes.workers[0].weights == integers.workers[0].weights
    assert codes.bits_per_coordinate < 0.8 * integers.bits_per_coordinate
