"""FastSGD's claims hold for FastSGD, and for nothing that is broken in some way."""

import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import some, verdicts

from host.compressors.deltas import HEADER
from host.compressors.fastsgd import FastSGD
from host.compressors.logcodes import LogCodes
from intswitch.reproduce import fastsgd, fastsgd_coding, fastsgd_figure
from intswitch.reproduce import fastsgd_runs as runs
from intswitch.reproduce.claims import Options
from intswitch.reproduce.datasets import rcv1_twin
from intswitch.reproduce.fastsgd_coding import (
    KeyBits,
    Timing,
    key_bits,
    nearest,
    paths,
    rounding,
    same_as_nuqsgd,
    timing,
)
from intswitch.reproduce.fastsgd_runs import Trained

DRAWS = 120
FEATURES = 100_000


# rounding


def rounded() -> runs.Found:
    return some(
        runs.Found,
        roundings=[rounding(base, 0, DRAWS) for base in fastsgd_coding.THRESHOLDS],
        nearest=[nearest(base, 0) for base in fastsgd_coding.THRESHOLDS],
    )


def test_rounding_is_as_claimed() -> None:
    assert verdicts(fastsgd.rounding_claims(rounded())) == [True] * 3


def spoilt(change: Any) -> type[FastSGD]:
    """A FastSGD whose means are changed afterwards."""

    class Spoilt(FastSGD):
        def average(self, gradient: Any, *arguments: Any) -> Any:
            return change(super().average(gradient, *arguments)).astype(np.float32)

    return Spoilt


NOISE = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda mean: 0.98 * mean, [False, False]),
        (lambda mean: mean + 1e-3, [False, True]),
        (lambda mean: mean + 0.3 * NOISE.normal(size=len(mean)), [True, False]),
    ],
    ids=["shrinks", "rounds up", "noisy"],
)
def test_means_that_are_spoilt_are_found_out(
    monkeypatch: pytest.MonkeyPatch, change: Any, expected: list[bool]
) -> None:
    monkeypatch.setattr(fastsgd_coding, "FastSGD", spoilt(change))
    unbiased, variance, _ = verdicts(fastsgd.rounding_claims(rounded()))
    assert [unbiased, variance] == expected


def test_rounding_to_the_nearest_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nearest(FastSGD):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"rounding": "deterministic"})

    monkeypatch.setattr(fastsgd_coding, "FastSGD", Nearest)
    assert verdicts(fastsgd.rounding_claims(rounded()))[:2] == [False, False]


@pytest.mark.parametrize("change", [{"random": True}, {"threshold": 13}])
def test_another_rounding_errs_by_more_than_claimed(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Codes at random have twice the error, codes of another threshold drop more."""
    right = rounded()

    def other(base: float, threshold: int, random: bool, dense: bool) -> LogCodes:
        made = LogCodes(base, threshold, random, dense)
        return dataclasses.replace(made, **change)

    class Claimed:
        """Codes that say that their threshold is the one that was asked for."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.made = other(*arguments, **options)
            self.threshold = arguments[1]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.made, name)

    monkeypatch.setattr(fastsgd_coding, "LogCodes", Claimed)
    taken = dataclasses.replace(right, nearest=[nearest(2.0, 0)])
    assert verdicts(fastsgd.rounding_claims(taken)) == [True, True, False]


# keys and time


def keyed(shares: tuple[float, ...] = fastsgd_coding.SHARES) -> list[KeyBits]:
    return [key_bits(share, 1 << 20, 0) for share in shares]


SPARSE = Trained(1, True, 0.5, pairs=100, key_bytes=150, message_bytes=200)
KEYED: dict[str, Any] = {"features": FEATURES, "start": 1.0, "exact": 0.5}


def test_keys_are_as_claimed() -> None:
    claims = fastsgd.key_claims(
        some(runs.Found, keys=keyed(), trainings=[SPARSE], **KEYED)
    )
    assert verdicts(claims) == [True, True]


@pytest.mark.parametrize("bits", [3, 9, 40])
def test_keys_of_other_sizes_are_found_out(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    """Below the entropy is as wrong as far above it."""

    def encoded(keys: Any) -> bytes:
        return bytes(HEADER.size + len(keys) * bits // 8)

    monkeypatch.setattr(fastsgd_coding, "encode_keys", encoded)
    claims = fastsgd.key_claims(
        some(runs.Found, keys=keyed(), trainings=[SPARSE], **KEYED)
    )
    assert verdicts(claims) == [False, True]


def test_values_that_take_more_than_keys_are_found_out() -> None:
    wide = SPARSE._replace(message_bytes=400)
    claims = fastsgd.key_claims(some(runs.Found, keys=[], trainings=[wide], **KEYED))
    assert verdicts(claims)[1] is False


def test_the_time_is_measured_and_its_power_told() -> None:
    measured = timing(1 << 16, 0)
    assert 0 < measured.encode < 1
    assert 0 < measured.decode < 1


@pytest.mark.parametrize(
    ("power", "holds"), [(0.9, True), (1.0, True), (1.3, False), (2.0, False)]
)
@pytest.mark.parametrize("coder", ["encode", "decode"])
def test_time_that_is_not_linear_is_found_out(
    power: float, holds: bool, coder: str
) -> None:
    linear = [Timing(n, 1e-9 * n, 1e-9 * n) for n in (1 << 18, 1 << 20, 1 << 22)]
    timings = [each._replace(**{coder: 1e-9 * each.elements**power}) for each in linear]
    assert verdicts(fastsgd.time_claims(some(runs.Found, timings=timings))) == [holds]


# in the switch


def test_sums_in_the_switch_are_as_claimed() -> None:
    measured = some(runs.Found, paths=paths(0, 3, 3000), nuqsgd=same_as_nuqsgd(0, 3))
    assert verdicts(fastsgd.switch_claims(measured)) == [True, True]


def test_sums_that_differ_in_a_bit_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Spoilt(FastSGD):
        def average(self, gradient: Any, *arguments: Any) -> Any:
            mean = super().average(gradient, *arguments)
            if self.path == "network":
                mean[7] = np.nextafter(mean[7], np.float32(1))
            return mean

    monkeypatch.setattr(fastsgd_coding, "FastSGD", Spoilt)
    measured = some(runs.Found, paths=paths(0, 3, 3000), nuqsgd=same_as_nuqsgd(0, 3))
    assert verdicts(fastsgd.switch_claims(measured)) == [False, False]


# ratio and loss


def swept(
    losses: dict[int, float], bare: dict[int, float], sizes: dict[int, float]
) -> runs.Found:
    """Losses of each threshold, with feedback and without; start 1, uncompressed 0."""
    trainings = [
        Trained(tau, feedback, loss, sizes[tau], sizes[tau], sizes[tau])
        for feedback, chosen in ((False, bare), (True, losses))
        for tau, loss in chosen.items()
    ]
    return some(
        runs.Found, trainings=trainings, features=FEATURES, start=1.0, exact=0.0
    )


LOSSES = {14: 0.0, 6: 0.01, 3: 0.04, 1: 0.4}
BARE = {14: 0.01, 6: 0.2, 3: 0.5, 1: 0.9}
SIZES = {14: 40_000.0, 6: 8000.0, 3: 2000.0, 1: 40.0}


def test_a_knee_is_as_claimed() -> None:
    measured = swept(LOSSES, BARE, SIZES)
    assert verdicts(fastsgd.ratio_claims(measured)) == [True, True, True]
    best, bare = (fastsgd.knee(measured, feedback) for feedback in (True, False))
    assert best is not None
    assert bare is not None
    assert (best.threshold, bare.threshold) == (3, 14)
    assert measured.ratio(best) == 200


@pytest.mark.parametrize(
    ("losses", "bare", "sizes", "expected"),
    [
        ({}, {}, {1: 41.0}, [False, True, True]),  # not 10,000
        ({1: 0.95}, {1: 0.95}, {}, [False, True, True]),  # hardly a training
        ({}, {}, {3: 20_000.0, 6: 30_000.0}, [True, False, True]),  # not steep
        ({}, {}, {6: 41_000.0}, [True, False, True]),  # does not always grow
        ({1: 0.05}, {}, {}, [True, False, True]),  # no knee
        ({14: math.nan, 6: math.nan}, {}, {}, [True, False, False]),  # no numbers
        ({6: 0.2, 14: 0.3}, {}, {}, [True, False, False]),  # lost from the start
        ({}, {3: 0.04, 6: 0.0}, {}, [True, True, False]),  # no bias
    ],
)
def test_other_curves_are_found_out(
    losses: dict[int, float],
    bare: dict[int, float],
    sizes: dict[int, float],
    expected: list[bool],
) -> None:
    measured = swept(LOSSES | losses, BARE | bare, SIZES | sizes)
    assert verdicts(fastsgd.ratio_claims(measured)) == expected


@pytest.fixture(scope="module")
def regression() -> runs.Regression:
    return runs.Regression(rcv1_twin(0, 1000, 5000), batch=64, steps=20, seed=0)


def test_trainings_lose_what_the_threshold_drops(regression: runs.Regression) -> None:
    """tau = 20 drops next to nothing; 0 is too much without feedback."""
    rate = 1 / regression.whole.smoothness()
    start = regression.whole.loss(np.zeros(5000))
    exact = runs.uncompressed(regression, rate)
    assert exact < start - 0.02
    fine, back = (runs.trained(regression, rate, 20, each) for each in (False, True))
    assert back.loss == pytest.approx(exact, abs=0.01 * (start - exact))
    assert fine.loss == pytest.approx(exact, abs=0.2 * (start - exact))
    rough = runs.trained(regression, rate, 2, False)
    assert rough.message_bytes < fine.message_bytes / 10
    assert abs(rough.loss - exact) > 0.2 * (start - exact)
    assert rough.message_bytes >= rough.key_bytes > 0
    again = runs.trained(regression, rate, 2, False)
    assert again == rough


def test_messages_are_counted_as_they_are(regression: runs.Regression) -> None:
    """An exponent; a header and keys; three bits a value of tau = 2."""
    rough = runs.trained(regression, 1.0, 2, True)
    values = rough.message_bytes - rough.key_bytes - 1
    assert values == pytest.approx(3 * rough.pairs / 8, abs=1)
    assert rough.key_bytes > HEADER.size


def test_workers_have_other_samples_and_methods_the_same(
    regression: runs.Regression,
) -> None:
    one, other = regression.batch_of(0, 3), regression.batch_of(1, 3)
    assert not np.array_equal(one.samples.indices, other.samples.indices)
    again = regression.batch_of(0, 3)
    np.testing.assert_array_equal(one.samples.indices, again.samples.indices)
    assert len(one.labels) == 64
    assert one.l2 == 1 / 1000


# data and figure


def test_data_from_a_file_takes_the_place_of_the_twin(tmp_path: Path) -> None:
    path = tmp_path / "some.svm"
    lines = [f"{1 - 2 * (i % 2)} {i % 7 + 1}:1 20:{i % 3}" for i in range(600)]
    path.write_text("\n".join(lines))
    problem = runs.problem_of(Options(data=path), runs.QUICK)
    assert problem.dataset.name == "some.svm"
    assert problem.dataset.samples.num_features == 20
    path.write_text("\n".join(lines[:500]))
    with pytest.raises(ValueError, match=r"some\.svm: 500 samples: must be at least"):
        runs.problem_of(Options(data=path), runs.QUICK)


def test_the_figure_draws_its_rows() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    measured = dataclasses.replace(
        swept(LOSSES, BARE, SIZES),
        keys=keyed((0.1, 0.01)),
        timings=[Timing(10, 1.0, 2.0), Timing(20, 2.0, 4.0)],
    )
    rows = list(fastsgd_figure.rows(measured))
    panels = [row["panel"] for row in rows]
    assert panels == ["threshold"] * 9 + ["keys"] * 2 + ["time"] * 2
    figure = matplotlib.Figure()
    fastsgd_figure.draw(figure, measured)
    figure.savefig(io.BytesIO())
    ratio, loss, keys, time = figure.axes
    np.testing.assert_allclose(ratio.get_lines()[0].get_ydata(), [10, 50, 200, 10_000])
    assert list(loss.get_lines()[0].get_ydata()) == list(LOSSES.values())
    assert len(keys.get_lines()) == 3
    np.testing.assert_allclose(time.get_lines()[1].get_ydata(), [2e8, 2e8])


def test_the_entropy_is_that_of_a_subset() -> None:
    bits = key_bits(0.5, 1 << 16, 0)
    assert bits.entropy == pytest.approx(2.0, abs=1e-3)
    assert bits.bitmap == 2.0
    assert math.isclose(bits.whole_bytes, 10.0)
