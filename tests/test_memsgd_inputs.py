"""host/compressors/memsgd.py: the same on every worker; all inputs and options."""

import itertools
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from memsgd_runs import D, Gradients, N, dyadic, every_form, run

from host.compressors import compressor
from host.compressors.base import Gradient
from host.compressors.memsgd import ENTRY, MemSGD

# the same on every worker, and again


@every_form
@pytest.mark.parametrize("memory", [True, False])
def test_all_workers_have_the_same_bits(form: dict[str, Any], memory: bool) -> None:
    gradients = np.random.default_rng(1).normal(size=(6, N, D)).astype(np.float32)
    outcomes = run(gradients, memory=memory, rounding="random", **form)
    assert len({np.array(outcome.means).tobytes() for outcome in outcomes}) == 1


def test_a_run_repeats_from_its_seed() -> None:
    gradients = dyadic(6)
    once, again, other = (
        np.array(run(gradients, select="rand", k=5, seed=seed)[0].means).tobytes()
        for seed in (7, 7, 8)
    )
    assert once == again != other


@every_form
def test_a_loaded_state_goes_on_bit_for_bit(form: dict[str, Any]) -> None:
    gradients = dyadic(8)

    def work(network: LocalNetwork) -> bool:
        whole, first, second = (MemSGD(shift=3.0, **form) for _ in range(3))
        mine = gradients[:, network.rank]
        expected = [whole.average(g, network) for g in mine]
        for g in mine[:4]:
            first.average(g, network)
        second.load_state_dict(first.state_dict())
        means = [second.average(g, network) for g in mine[4:]]
        return np.array(means).tobytes() == np.array(expected[4:]).tobytes()

    assert results_of(run_workers(N, work)) == [True] * N


def test_memory_goes_by_the_name_of_the_block() -> None:
    gradients, ahead = dyadic(4), [("a", 50), ("b", D - 50)]

    def work(network: LocalNetwork) -> list[Gradient]:
        made, means = MemSGD(k=8, element_type="int32"), []
        for step, g in enumerate(gradients[:, network.rank]):
            if step % 2:
                turned = made.average(np.roll(g, -50), network, ahead[::-1])
                means.append(np.roll(turned, 50))
            else:
                means.append(made.average(g, network, ahead))
        return means

    expected = run(gradients, blocks=ahead, k=8, element_type="int32")[0].means
    for means in results_of(run_workers(N, work)):
        assert np.array(means).tobytes() == np.array(expected).tobytes()


# inputs


@every_form
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_workers_raise_when_one_gradient_is_not_finite(
    form: dict[str, Any], bad: float
) -> None:
    """Also where the element would not be sent; and nothing is remembered."""
    gradients = dyadic(5)
    expected = np.array(run(gradients, **form)[0].means)
    blocks = [("weight", 120), ("bias", D - 120)]

    def work(network: LocalNetwork) -> Gradients:
        made, means = MemSGD(**form), []
        for step, g in enumerate(gradients[:, network.rank]):
            broken = g.copy()
            broken[[130, 250]] = bad if network.rank == 1 else 1
            text = r"bias\[10\] is not" if network.rank == 1 else "another worker"
            with pytest.raises(ValueError, match=f"step {step}: .*{text}"):
                made.average(broken, network, blocks)
            means.append(made.average(g, network, blocks))
        return np.array(means)

    for means in results_of(run_workers(N, work)):
        assert means.tobytes() == expected.tobytes()


@every_form
@pytest.mark.parametrize("d", [0, 1, 2, 65])
def test_any_number_of_elements(form: dict[str, Any], d: int) -> None:
    gradients = dyadic(3, d=d)
    outcomes = run(gradients, element_type="int32", **form) if d else []
    for rank, outcome in enumerate(outcomes):
        sums = np.sum(outcome.shares, axis=0) + outcome.memories[-1]
        np.testing.assert_allclose(sums, gradients[:, rank].sum(axis=0), atol=1e-4)
    for mean in results_of(
        run_workers(N, lambda each: MemSGD(**form).average(gradients[0, 0], each))
    ):
        assert mean.shape == (d,)


@every_form
def test_zeros_stay_zeros(form: dict[str, Any]) -> None:
    for outcome in run(np.zeros((2, N, D), np.float32), **form):
        assert not np.array(outcome.means).any()
        assert not outcome.memories[-1].any()


@pytest.mark.parametrize("path", ["network", "gather"])
@pytest.mark.parametrize("size", [1e-45, 1e-40, 2.0**-126, 3e38])
def test_the_smallest_and_the_largest_floats(path: str, size: float) -> None:
    """Denormals are kept in the memory, if not sent; huge floats come out as they are,
    up to 2^126, where the scale ends: beyond, the memory has the rest."""
    gradients = np.zeros((1, N, 10), np.float32)
    gradients[0, :, 3] = size
    for outcome in run(gradients, k=1, path=path, element_type="int16"):
        total = outcome.shares[0][3] + outcome.memories[0][3]
        assert total == pytest.approx(np.float32(size), rel=1e-6)
        assert np.isfinite(outcome.means[0]).all()


def test_out_may_be_the_gradient() -> None:
    gradients = dyadic(4)
    expected = {
        path: run(gradients, k=5, path=path)[0] for path in ("network", "gather")
    }

    def work(network: LocalNetwork) -> bool:
        same = []
        for path, outcome in expected.items():
            made = MemSGD(k=5, path=path)
            for step, g in enumerate(gradients[:, network.rank].copy()):
                assert made.average(g, network, out=g) is g
                same.append(g.tobytes() == outcome.means[step].tobytes())
        return all(same)

    assert results_of(run_workers(N, work)) == [True] * N


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"select": "best"}, "select is 'best': must be one of top, rand"),
        ({"path": "air"}, "path is 'air': must be one of network, gather"),
        ({"k": 0}, "k is 0: must be above 0"),
        ({"k": float("inf")}, "k is inf: must be above 0 and finite"),
        ({"k": 0.5}, "k is 0.5: below 1 only with select=rand"),
        ({"k": 2.5}, "k is 2.5: must be a whole number"),
        ({"k": 2, "ratio": 0.1}, "k is 2 and ratio is 0.1: give one"),
        ({"ratio": 0.0}, "ratio is 0.0: must be above 0 and at most 1"),
        ({"ratio": 1.5}, "ratio is 1.5"),
        ({"shift": 0.0}, "shift is 0.0: must be above 0"),
        ({"memory": 1}, "memory is 1: must be bool"),
    ],
)
def test_wrong_options_are_told_the_right_ones(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        compressor("memsgd", **options)


@pytest.mark.parametrize(
    ("options", "d", "size"),
    [
        ({}, 1000, 10),
        ({}, 10, 1),
        ({"ratio": 1.0}, 50, 50),
        ({"k": 7}, 1000, 7),
        ({"k": 70}, 50, 50),
        ({"select": "rand", "ratio": 0.02}, 1000, 20),
        ({"select": "rand", "k": 1}, 1000, 1),
    ],
)
def test_how_many_are_chosen(options: dict[str, Any], d: int, size: int) -> None:
    vector = np.arange(1, d + 1, dtype=np.float32)
    assert len(MemSGD(**options).choose(vector)) == size


def test_a_small_share_of_few_elements_is_ultra_sparse() -> None:
    """1 % of 10 elements: a tenth of an element a step."""
    made, chosen = MemSGD(select="rand", ratio=0.01), []
    for made.step in range(1000):
        chosen.append(len(made.choose(np.ones(10, np.float32))))
    assert max(chosen) == 1
    assert 60 < sum(chosen) < 145


def test_every_combination_of_options_runs() -> None:
    gradients = dyadic(2, d=20)
    for select, path, memory, shift in itertools.product(
        ("top", "rand"), ("network", "gather"), (True, False), (None, 5.0)
    ):
        options = {"select": select, "path": path, "memory": memory, "shift": shift}
        means = np.array(run(gradients, k=3, **options)[0].means)
        assert np.isfinite(means).all()
        assert means.any()


@pytest.mark.parametrize(
    ("indices", "octets", "text"),
    [
        ([3, 4], 15, "has 15 bytes: must be a multiple of 8"),
        ([3, D], 16, f"ascending ones below {D}"),
        ([3, 3], 16, "ascending"),
        ([4, 3], 16, "ascending"),
    ],
)
def test_a_malformed_message_is_an_error_on_every_worker(
    indices: list[int], octets: int, text: str
) -> None:
    class Garbling(LocalNetwork):
        def gather(self, message: bytes) -> list[bytes]:
            entries = np.zeros(len(indices), ENTRY)
            entries["index"] = indices
            return super().gather(entries.tobytes()[:octets])

    gradients = dyadic(1)[0]

    def work(network: LocalNetwork) -> None:
        if network.rank == 1:
            network = Garbling(network.fabric, 1)
        made = MemSGD(k=2, path="gather")
        with pytest.raises(ValueError, match=f"message of worker 1 .*{text}"):
            made.average(gradients[network.rank], network)
        assert not made.state_dict()["memory"]["gradient"].any()

    results_of(run_workers(N, work))
