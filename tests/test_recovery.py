"""Timeouts, against RFC 6298 worked out by hand. Exact in binary where it says ==."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.recovery import (
    INITIAL_TIMEOUT,
    MAX_TIMEOUT,
    MIN_TIMEOUT,
    SMOOTHED,
    TIMEOUT,
    VARIATION,
    Estimate,
    new_estimate,
    on_sample,
    timeout_after,
)


def after(*samples: float) -> Estimate:
    estimate = new_estimate()
    for rtt in samples:
        on_sample(estimate, rtt)
    return estimate


def test_before_the_first_sample() -> None:
    assert timeout_after(new_estimate(), 0) == INITIAL_TIMEOUT == 0.1


def test_the_first_sample() -> None:
    """RFC 6298 (2.2): SRTT = R, RTTVAR = R / 2, RTO = SRTT + 4 RTTVAR."""
    estimate = after(0.0625)
    assert estimate[SMOOTHED] == 0.0625
    assert estimate[VARIATION] == 0.03125
    assert estimate[TIMEOUT] == 0.1875


def test_later_samples() -> None:
    """RFC 6298 (2.3): RTTVAR first, with the old SRTT; beta = 1/4, alpha = 1/8."""
    estimate = after(0.0625, 0.125)
    assert estimate[VARIATION] == 0.75 * 0.03125 + 0.25 * 0.0625 == 0.0390625
    assert estimate[SMOOTHED] == 0.875 * 0.0625 + 0.125 * 0.125 == 0.0703125
    assert estimate[TIMEOUT] == 0.0703125 + 4 * 0.0390625 == 0.2265625
    on_sample(estimate, 0.0703125)
    assert estimate[VARIATION] == 0.75 * 0.0390625
    assert estimate[SMOOTHED] == 0.0703125
    assert estimate[TIMEOUT] == 0.0703125 + 3 * 0.0390625


def test_a_shorter_sample_varies_as_much_as_a_longer() -> None:
    shorter, longer = after(0.125, 0.0625), after(0.125, 0.1875)
    assert shorter[VARIATION] == longer[VARIATION] == 0.75 * 0.0625 + 0.25 * 0.0625
    assert shorter[SMOOTHED] == 0.1171875


@settings(deadline=None)
@given(st.floats(0, 1e-4), st.integers(1, 200))
def test_the_floor(rtt: float, count: int) -> None:
    estimate = after(*[rtt] * count)
    assert timeout_after(estimate, 0) == MIN_TIMEOUT == 0.02


@settings(deadline=None)
@given(st.floats(0.4, 1e6))
def test_the_ceiling(rtt: float) -> None:
    estimate = after(rtt)
    for unanswered in range(40):
        assert timeout_after(estimate, unanswered) == MAX_TIMEOUT == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e3), min_size=1))
def test_never_outside_floor_and_ceiling(samples: list[float]) -> None:
    estimate = after(*samples)
    assert MIN_TIMEOUT <= estimate[TIMEOUT] <= MAX_TIMEOUT
    assert min(samples) * (1 - 1e-9) <= estimate[SMOOTHED] <= max(samples) * (1 + 1e-9)


def test_backoff_doubles_up_to_the_ceiling() -> None:
    estimate = after(0.0625)
    waits = [timeout_after(estimate, unanswered) for unanswered in range(5)]
    assert waits == [0.1875, 0.375, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("unanswered", [3, 4, 31, 63, 64, 65, 10_000])
def test_backoff_ends_at_eight_timeouts(unanswered: int) -> None:
    assert timeout_after(new_estimate(), unanswered) == 8 * INITIAL_TIMEOUT
    assert timeout_after(after(1e-3), unanswered) == 8 * MIN_TIMEOUT


def test_backing_off_keeps_the_estimate() -> None:
    estimate = after(0.0625)
    timeout_after(estimate, 5)
    assert timeout_after(estimate, 0) == 0.1875


def test_a_steady_path_comes_down_to_its_round_trip() -> None:
    estimate = after(0.5, *[0.0625] * 100)
    assert estimate[SMOOTHED] == pytest.approx(0.0625, rel=1e-4)
    assert estimate[TIMEOUT] == pytest.approx(0.0625, rel=1e-3)
