"""Trainings in lockstep: the same as over UDP, and the yardstick is exact."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from intswitch.experiment import Training
from intswitch.fabrics import open_fabric
from intswitch.reproduce import lockstep
from intswitch.reproduce.training import FloatMean, train
from intswitch.topology import load
from intswitch.train import run

CHOICES = {"seed": 3, "steps": 12, "batch_size": 8, "evaluations": 3}


def test_a_training_is_that_over_udp_bit_for_bit() -> None:
    """Losses too: they depend on every bit of the weights."""
    here = train("intsgd:element_type=int8", "digits", num_workers=2, **CHOICES)
    training = Training(workload="digits", options={"element_type": "int8"}, **CHOICES)
    with open_fabric("loopback", load("pair"), lambda text: None) as fabric:
        there = run(fabric, training)
    assert here.losses == there.losses
    assert here.evaluations == there.evaluations
    assert here.largest_integers == there.largest_integers
    assert here.clips == there.total("clips")
    assert here.score == there.score


def test_the_yardstick_is_the_mean_of_the_floats() -> None:
    gradients = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)

    def work(network: lockstep.Worker) -> np.ndarray:
        own = gradients[network.rank].copy()
        return FloatMean().average(own, network, out=own)

    for mean in lockstep.run(3, work):
        expected = gradients.mean(axis=0, dtype=np.float64).astype(np.float32)
        np.testing.assert_array_equal(mean, expected)


def test_exact_stands_for_the_yardstick() -> None:
    curve = train("exact", "digits", num_workers=2, **CHOICES)
    assert curve.clips == max(curve.largest_integers) == 0
    assert curve.losses[-1] < curve.losses[0]
