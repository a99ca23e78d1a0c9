"""host/compressors/natural.py: powers of two."""

from typing import Any

import averaging
import numpy as np
import pytest
from estimates import check_unbiased
from local_network import LocalNetwork, results_of, run_workers
from log_levels import spread_of_mean
from numpy.typing import NDArray

from host.compressors.integers import largest_of
from host.compressors.logcodes import LogCodes
from host.compressors.natural import Natural

N = 4
Gradients = NDArray[np.float32]

on_both_paths = pytest.mark.parametrize("path", ["network", "gather"])


def of_many_magnitudes(d: int, seed: int = 0) -> Gradients:
    chance = np.random.default_rng(seed)
    magnitudes = 10.0 ** chance.uniform(-3, 0, (N, d))
    return (chance.normal(size=(N, d)) * magnitudes).astype(np.float32)


def average(gradients: Gradients, **options: Any) -> list[tuple[Gradients, Natural]]:
    return averaging.average(gradients, kind=Natural, **options)


@on_both_paths
def test_elements_go_to_a_power_of_two_beside_them(path: str) -> None:
    gradients = of_many_magnitudes(3000)
    for gradient, (_, made) in zip(
        gradients, average(gradients, path=path), strict=True
    ):
        ratio = made.share() / gradient
        assert (np.frexp(made.share())[0] == 0.5 * np.sign(gradient)).all()
        assert ratio.min() > 0.5
        assert ratio.max() < 2
        assert ((ratio - 1) ** 2).mean() < 1 / 8


@on_both_paths
@pytest.mark.parametrize("result_type", ["int16", "int32"])
def test_the_mean_is_unbiased(path: str, result_type: str) -> None:
    """Also of int16, where what is below 2^-13 of the largest is rounded to it or 0."""
    gradients = of_many_magnitudes(30)
    gradients[:, :5] *= np.float32(1e-2)

    def work(network: LocalNetwork) -> NDArray[np.float64]:
        made = Natural(path=path, result_type=result_type)
        mine = gradients[network.rank]
        return np.array([made.average(mine, network) for _ in range(1500)], np.float64)

    tables = Natural(path=path, result_type=result_type).tables(N)
    drawn = results_of(run_workers(N, work, **tables))[0]
    exponents = [int(np.frexp(np.abs(each).max())[1]) for each in gradients]
    made, log = Natural(result_type=result_type), LogCodes(2.0, 126, True, True)
    if path == "network":
        log, exponents = made.form_for(N)[1], [max(exponents)] * N
    exact = gradients.mean(axis=0, dtype=np.float64)
    check_unbiased(drawn, exact, *spread_of_mean(gradients, log, exponents))


@pytest.mark.parametrize(
    ("result_type", "n", "bits"),
    [
        *(("int32", n, bits) for n, bits in ((2, 29), (4, 28), (8, 27), (16, 26))),
        *(("int16", n, bits) for n, bits in ((2, 13), (4, 12), (8, 11), (16, 10))),
        *(("int8", 127, 0), ("int8", 64, 0), ("int8", 63, 1)),
    ],
)
def test_range_of_the_sum(result_type: str, n: int, bits: int) -> None:
    form, log = Natural(result_type=result_type).form_for(n)
    assert log.table_bits == log.threshold == bits
    assert n * 2**bits <= largest_of(form.result) < n * 2 ** (bits + 1)


def test_more_workers_than_the_sum_has_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"128 workers.* does not fit int8.* 127"):
        Natural(result_type="int8").tables(128)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(sign: int) -> None:
    """Just below M, all workers send M: 2^28, and the switch has room for 7 of them."""
    largest = np.nextafter(np.float32(1), np.float32(0)) * np.float32(sign)
    gradients = np.full((7, 100), largest, np.float32)
    (mean, made), *_ = average(gradients)
    assert made.form_for(7)[1].table_bits == 28
    assert set(mean.tolist()) <= {sign, sign * 6.5 / 7}
    assert made.statistics.largest_sum == 7 * 2**28


def test_messages_have_8_bits_an_element() -> None:
    (_, made), *_ = average(of_many_magnitudes(6400), path="gather")
    chunks = -(-(1 + 6400) // 64)
    assert made.statistics.bytes_up == (1 + 4 * chunks) * 16 + (1 + chunks) * 64


@on_both_paths
def test_zeros_one_element_and_none(path: str) -> None:
    for d in (0, 1, 100):
        assert not average(np.zeros((N, d), np.float32), path=path)[0][0].any()
    ones = np.full((N, 1), -2.0, np.float32)
    assert average(ones, path=path)[0][0] == [-2]


@on_both_paths
def test_a_mean_is_finite_where_the_sum_is_not(path: str) -> None:
    gradients = np.full((5, 3), 2.0**126, np.float32)
    gradients[:, 1], gradients[:, 2] = -(2.0**125), 2.0**110
    for mean, _ in average(gradients, path=path):
        np.testing.assert_allclose(mean, gradients[0], rtol=1e-6)


@on_both_paths
def test_elements_of_2_to_the_minus_122_come_out(path: str) -> None:
    """Were M the next power of two above them, the unit of the sums would be 0."""
    gradients = np.full((N, 3), 2.0**-122, np.float32)
    gradients[:, 1] *= -1
    for mean, _ in average(gradients, path=path):
        np.testing.assert_array_equal(mean, gradients[0])
