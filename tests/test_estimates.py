"""Confidence intervals and the test of bias: right as often as they say."""

import numpy as np
import pytest

from intswitch.reproduce.estimates import Draws, Interval, interval, student

# Of the usual tables: level, degrees of freedom, quantile.
TABLE = [
    (0.95, 4, 2.776),
    (0.95, 9, 2.262),
    (0.99, 9, 3.250),
    (0.99, 29, 2.756),
    (0.999, 29, 3.659),
    (0.99, 10**9, 2.576),
]


@pytest.mark.parametrize(("level", "freedom", "quantile"), TABLE)
def test_students_quantiles(level: float, freedom: int, quantile: float) -> None:
    assert student(level, freedom) == pytest.approx(quantile, rel=5e-3)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    chance = np.random.default_rng(0)
    trials = [interval(chance.normal(3.0, 2.0, 8), 0.9) for _ in range(4000)]
    assert np.mean([each.holds(3.0) for each in trials]) == pytest.approx(0.9, abs=0.02)


def test_an_interval_needs_two_samples() -> None:
    with pytest.raises(ValueError, match="1 samples: an interval needs 2"):
        interval([1.0])


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.66712, 0.00314, "0.6671 ± 0.0031"),
        (12345.6, 78.0, "12,346 ± 78"),
        (1.2345e-9, 3e-11, "1.235e-09 ± 3.0e-11"),
        (2.0, 0.0, "2 ± 0"),
    ],
)
def test_an_interval_is_written_to_its_precision(
    mean: float, half: float, text: str
) -> None:
    assert str(Interval(mean, half)) == text


EXPECTED = np.random.default_rng(9).normal(size=500)


def drawn(kind: str, draws: int = 200) -> Draws:
    """Random rounding to integers, spoilt in some way."""
    chance = np.random.default_rng(1)
    found = Draws(EXPECTED)
    for _ in range(draws):
        rounded = np.floor(EXPECTED + chance.random(500))
        if kind == "shrinks":
            rounded *= 0.97
        elif kind == "rounds up too often":
            rounded = np.floor(EXPECTED + 0.04 + chance.random(500))
        elif kind == "rounds to nearest now and then":
            nearest = chance.random(500) < 0.4
            rounded = np.where(nearest, np.rint(EXPECTED), rounded)
        elif kind == "rounds to nearest":
            rounded = np.rint(EXPECTED)
        found.add(rounded)
    return found


LIMITS = [
    (100, 32, 5.489),
    (600, 32, 5.174),
    (10_000, 32, 5.119),
    (600, 4, 4.754),
]


def test_unbiased_draws_are_found_unbiased() -> None:
    draws = drawn("rightly")
    assert draws.unbiased
    fractions = EXPECTED - np.floor(EXPECTED)
    assert draws.variance.holds(float((fractions * (1 - fractions)).sum()))


@pytest.mark.parametrize(
    "kind",
    [
        "shrinks",
        "rounds up too often",
        "rounds to nearest now and then",
        "rounds to nearest",
    ],
)
def test_biased_draws_are_found_biased(kind: str) -> None:
    draws = drawn(kind)
    assert not draws.unbiased
    assert draws.told().startswith("largest mean error ")


@pytest.mark.parametrize(("draws", "directions", "limit"), LIMITS)
def test_the_limit_is_for_all_directions_together(
    draws: int, directions: int, limit: float
) -> None:
    """Student's quantile at 1 - 0.00001 / (2 directions), from SciPy."""
    found = Draws(np.ones(2), directions=directions - 3)
    for _ in range(draws):
        found.add(np.ones(2))
    assert found.limit == pytest.approx(limit, rel=2e-3)


def test_exact_draws_are_unbiased() -> None:
    draws = Draws(EXPECTED)
    for _ in range(3):
        draws.add(EXPECTED)
    assert (draws.bias, draws.unbiased) == (0.0, True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draws_that_are_not_finite_are_not_unbiased(bad: float) -> None:
    draws = Draws(EXPECTED)
    for _ in range(3):
        draws.add(np.where(np.arange(500) == 7, bad, EXPECTED))
    with np.errstate(invalid="ignore"):
        assert not draws.unbiased
