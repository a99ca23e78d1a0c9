"""host/compressors/fastsgd.py: the mean of log codes, in the network or by messages."""

from typing import Any

import numpy as np
import pytest
import real_switch
from averaging import PATHS, Gradients, N, average, of_many_magnitudes, run
from estimates import check_unbiased
from local_network import LocalNetwork, results_of, run_workers
from log_levels import spread_of_mean
from numpy.typing import NDArray

from host.compressors import compressor
from host.compressors.base import Compressor
from host.compressors.fastsgd import FastSGD, table_of
from host.compressors.feedback import Feedback
from host.compressors.logcodes import LogCodes
from host.compressors.nuqsgd import NUQSGD
from intswitch.reproduce import lockstep

NUQ4 = {"threshold": 6, "rounding": "random", "dense": True, "scale": "max"}

on_both_paths = pytest.mark.parametrize("path", PATHS)


# the mean


OPTIONS: list[dict[str, Any]] = [
    {},
    {"threshold": 3},
    {"rounding": "random"},
    {"scale": "max"},
    {"scale": "max", "rounding": "random", "threshold": 20},
    {"dense": True},
    NUQ4,
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_paths_have_the_same_mean(options: dict[str, Any]) -> None:
    """Bit for bit, for base 2; workers whose largest exponents differ take the larger
    M in the network, and so other levels."""
    gradients = of_many_magnitudes()
    gradients[:, 0] = 1.5
    in_network, by_messages = (
        average(gradients, path=path, steps=2, **options)[0][0] for path in PATHS
    )
    assert in_network.tobytes() == by_messages.tobytes()


@pytest.mark.parametrize(("base", "threshold"), [(1.1, 100), (1.5, 30), (3.0, 12)])
def test_other_bases_differ_by_the_precision_of_the_table(
    base: float, threshold: int
) -> None:
    gradients = of_many_magnitudes()
    in_network, by_messages = (
        average(gradients, path=path, base=base, threshold=threshold)[0][0]
        for path in PATHS
    )
    _, log = table_of(LogCodes(base, threshold, False, False), None, N)
    half = 2.0**-log.table_bits / 2  # an integer; and what float32 rounds
    np.testing.assert_allclose(in_network, by_messages, rtol=1e-6, atol=half + 2**-25)


@on_both_paths
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_mean_of_the_shares_is_the_mean(path: str, options: dict[str, Any]) -> None:
    outcomes = average(of_many_magnitudes(), path=path, **options)
    shares = np.mean([made.share() for _, made in outcomes], axis=0, dtype=np.float64)
    np.testing.assert_allclose(shares, outcomes[0][0], rtol=1e-6, atol=1e-9)


@on_both_paths
def test_a_share_is_the_nearest_level_or_nothing(path: str) -> None:
    gradients = of_many_magnitudes()
    for gradient, (_, made) in zip(
        gradients, average(gradients, path=path), strict=True
    ):
        share = made.share()
        kept = share != 0
        ratio = share[kept] / np.clip(gradient[kept], -1, 1)
        assert (np.abs(np.log2(ratio)) <= 0.5 + 1e-6).all()
        assert np.abs(gradient[~kept]).max() <= 2**-14.5


@on_both_paths
def test_dense_codes_rounded_at_random_are_unbiased(path: str) -> None:
    gradients = of_many_magnitudes(30)
    gradients[:, 0] = 0.9  # M is 1 for all workers
    gradients = np.clip(gradients, -1, 1)

    def work(network: LocalNetwork) -> NDArray[np.float64]:
        made = FastSGD(path=path, **NUQ4)
        mine = gradients[network.rank]
        return np.array([made.average(mine, network) for _ in range(1500)], np.float64)

    drawn = run(work, FastSGD(path=path, **NUQ4))[0]
    exact = gradients.mean(axis=0, dtype=np.float64)
    log = LogCodes(2.0, 6, random=True, dense=True)
    check_unbiased(drawn, exact, *spread_of_mean(gradients, log, [0] * N))


def test_the_threshold_is_a_bias_that_feedback_takes_back() -> None:
    """An element that is always dropped never arrives; with feedback, its mean does."""
    gradients = np.full((N, 5), 3e-3, np.float32)
    gradients[:, 0] = 1.0

    def mean_of(made: Compressor, network: LocalNetwork) -> NDArray[np.float64]:
        means = [made.average(gradients[network.rank], network) for _ in range(200)]
        return np.mean(means, axis=0, dtype=np.float64)

    def work(network: LocalNetwork) -> list[NDArray[np.float64]]:
        options = {"threshold": 6}
        made = [
            compressor("fastsgd", feedback=each, **options) for each in (False, True)
        ]
        assert isinstance(made[1], Feedback)
        return [mean_of(each, network) for each in made]

    without, with_feedback = run(work, FastSGD(threshold=6))[0]
    assert not without[1:].any()
    np.testing.assert_allclose(with_feedback, gradients[0], rtol=0.05)


# NUQSGD


def test_base_2_tau_6_dense_is_nuqsgd_with_4_bits() -> None:
    """The same bits, where the norms that workers share are the same power of two: one
    for all here, one for each packet there."""
    gradients = of_many_magnitudes(900)
    gradients[:, ::16] = 3.0
    for steps in (1, 3):
        ours = average(gradients, steps, **NUQ4)[0][0]
        theirs = average(gradients, steps, NUQSGD, norm="linf", bits=4)[0][0]
        assert ours.tobytes() == theirs.tobytes()


# integers in the switch


def worst(sign: float, n: int, d: int = 70) -> Gradients:
    return np.full((n, d), sign, np.float32)


LIMITS = [
    *(("int8", 2.0, 4), ("int16", 2.0, 12), ("int32", 2.0, 28)),
    *(("int8", 1.5, 6), ("int16", 1.1, 40)),
]
"""Result type, base and threshold for which 7 workers are the most."""


@pytest.mark.parametrize(("result_type", "base", "threshold"), LIMITS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sums_are_exact(
    result_type: str, base: float, threshold: int, sign: float
) -> None:
    options: dict[str, Any] = {
        "base": base, "threshold": threshold, "result_type": result_type
    }  # fmt: skip
    (mean, made), *_ = average(worst(sign, 7), **options)
    assert (mean == np.float32(sign)).all()
    bits = {"int8": 4, "int16": 12, "int32": 28}[result_type]
    assert made.statistics.largest_integer == 2**bits
    assert made.statistics.largest_sum == 7 * 2**bits
    assert made.statistics.overflows == 0


@pytest.mark.parametrize("wire", ["codes", "integers"])
@pytest.mark.parametrize(
    ("result_type", "threshold"), [("int8", 1), ("int16", 9), ("int32", 25)]
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sums_are_exact_in_the_switch(
    wire: str, result_type: str, threshold: int, sign: float
) -> None:
    """63 workers at once through the emulated switch, for which 63 are the most."""
    options: dict[str, Any] = {
        "threshold": threshold, "result_type": result_type, "wire": wire
    }  # fmt: skip
    with pytest.raises(ValueError, match=rf"64 x 2\^{threshold}, .* at most 63"):
        FastSGD(**options).form_for(64)

    def work(network: lockstep.Worker) -> tuple[Gradients, int]:
        made = FastSGD(**options)
        mean = made.average(np.full(300, sign, np.float32), network)
        return mean, made.statistics.largest_sum

    for mean, total in lockstep.run(63, work, **FastSGD(**options).tables(63)):
        assert (mean == np.float32(sign)).all()
        assert total == 63 * 2**threshold


@pytest.mark.parametrize(("result_type", "base", "threshold"), LIMITS[:3])
def test_one_worker_more_is_refused(
    result_type: str, base: float, threshold: int
) -> None:
    log = LogCodes(base, threshold, False, False)
    table_of(log, result_type, 7)
    text = (
        rf"threshold is {threshold}: 8 workers' largest integer, 8 x 2\^{threshold}, "
        f"does not fit {result_type}: at most 7 workers"
    )
    with pytest.raises(ValueError, match=text):
        table_of(log, result_type, 8)

    made = FastSGD(threshold=threshold, result_type=result_type)
    made.tables(7)
    with pytest.raises(ValueError, match=text):
        made.tables(8)

    def work(network: LocalNetwork) -> None:
        integers = FastSGD(
            threshold=threshold, result_type=result_type, wire="integers"
        )
        with pytest.raises(ValueError, match=text):
            integers.average(np.ones(3, np.float32), network)

    results_of(run_workers(8, work))


def test_other_bases_are_refused_when_levels_are_the_same_integer() -> None:
    """F falls with n: 4 bits for 7 workers, 3 for 8 to 15."""
    log = LogCodes(1.5, 6, False, False)
    assert table_of(log, "int8", 7)[1].table_bits == 4
    with pytest.raises(ValueError, match=r"the same integer, or 0, .* so many workers"):
        table_of(log, "int8", 8)


@pytest.mark.parametrize(
    ("wire", "threshold", "n", "element", "result"),
    [
        *(("integers", 6, 1, "INT8", "INT8"), ("integers", 6, 511, "INT8", "INT16")),
        *(("integers", 6, 512, "INT8", "INT32"), ("integers", 7, 2, "INT16", "INT16")),
        *(("integers", 14, 4, "INT16", "INT32"), ("integers", 20, 4, "INT32", "INT32")),
        *(("codes", 6, 511, "CODE4", "INT16"), ("codes", 7, 2, "CODE8", "INT16")),
        *(("codes", 14, 4, "CODE8", "INT32"), ("codes", 0, 4, "CODE4", "INT8")),
    ],
)
def test_types_are_the_narrowest(
    wire: str, threshold: int, n: int, element: str, result: str
) -> None:
    form, _ = FastSGD(threshold=threshold, wire=wire).form_for(n)
    assert (form.element.name, form.result.name) == (element, result)


@pytest.mark.parametrize("options", [{}, NUQ4, {"base": 1.5, "threshold": 20}], ids=str)
def test_codes_and_integers_have_the_same_sums(options: dict[str, Any]) -> None:
    gradients = of_many_magnitudes()
    (codes, small), *_ = average(gradients, wire="codes", **options)
    (integers, large), *_ = average(gradients, wire="integers", **options)
    assert codes.tobytes() == integers.tobytes()
    assert small.statistics.bytes_up < large.statistics.bytes_up
    assert small.statistics.largest_sum == large.statistics.largest_sum


def test_tables_are_those_of_the_codes_that_are_sent() -> None:
    levels = (0, 1, 2, 4, 8, 16, 32, 64)
    table = (*levels, *(-level for level in levels))
    assert FastSGD(threshold=6).tables(4) == {"code4": table}
    (code8,) = FastSGD(threshold=14).tables(4).values()
    assert len(code8) == 256
    assert code8[15] == -code8[128 + 15] == 2**14
    assert FastSGD(path="gather").tables(4) == FastSGD(wire="integers").tables(4) == {}
    made = compressor("fastsgd", threshold=6, feedback=True)
    assert made.tables(4) == {"code4": table}


@pytest.mark.parametrize(
    ("job", "what"),
    [({}, "no"), (FastSGD(threshold=13).tables(N), "another")],
    ids=["none", "another"],
)
def test_a_job_with_other_tables_is_refused(job: dict[str, Any], what: str) -> None:
    def work(network: LocalNetwork) -> None:
        with pytest.raises(ValueError, match=f"the job has {what} code8 table: join"):
            FastSGD().average(np.ones(5, np.float32), network)

    results_of(run_workers(N, work, **job))


@on_both_paths
def test_through_a_real_switch(path: str) -> None:
    gradients = of_many_magnitudes(20_000)

    def work(network: Any) -> Gradients:
        made = FastSGD(path=path)
        return made.average(gradients[network.rank], network)

    with real_switch.running() as switch:
        tables = FastSGD(path=path).tables(N)
        means = real_switch.run_workers(switch, N, work, **tables)
    expected = average(gradients, path=path)[0][0]
    for mean in means:
        assert mean.tobytes() == expected.tobytes()
