"""Whether estimates of a vector are unbiased, and as precise as they should be.

`estimates` are float64[steps, d], drawn with other coins in every step; `truth` is
float64[d]. Each check raises AssertionError. Intervals are of 5 standard errors, taken
from the estimates themselves: for what is right a draw lies outside once in 1.7
million, and the draws are seeded.
"""

import numpy as np
from numpy.typing import NDArray

Z = 5.0
Floats = NDArray[np.float64]


def check_elements_unbiased(estimates: Floats, truth: Floats) -> None:
    """Each element's mean over the steps is the truth."""
    error = estimates.mean(axis=0) - truth
    deviation = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    tolerance = Z * deviation + 1e-6 * np.abs(truth)
    worst = int(np.argmax(np.abs(error) - tolerance))
    assert (np.abs(error) <= tolerance).all(), (
        f"element {worst}: {error[worst]:.3g} off, {tolerance[worst]:.3g} allowed"
    )


def check_scale(estimates: Floats, truth: Floats) -> None:
    """The estimate's component along the truth is the truth: all elements together see
    a factor that none alone can show."""
    along = estimates @ truth / (truth @ truth)
    error = along.mean() - 1
    tolerance = Z * along.std(ddof=1) / np.sqrt(len(along)) + 1e-6
    assert abs(error) <= tolerance, (
        f"scaled by 1 + {error:.2g}, {tolerance:.2g} allowed"
    )


def check_signs_balanced(estimates: Floats, truth: Floats) -> None:
    """Nor is there a bias away from or towards zero, summed over the elements."""
    outward = (estimates - truth) @ np.sign(truth)
    error = outward.mean()
    tolerance = Z * outward.std(ddof=1) / np.sqrt(len(outward))
    tolerance += 1e-6 * float(np.abs(truth).sum())
    assert abs(error) <= tolerance, f"{error:.2g} outward, {tolerance:.2g} allowed"


def check_unbiased(estimates: Floats, truth: Floats) -> None:
    """All three."""
    check_elements_unbiased(estimates, truth)
    check_scale(estimates, truth)
    check_signs_balanced(estimates, truth)


def check_variance(estimates: Floats, truth: Floats, variance: float) -> None:
    """The squared error, summed over the elements, has this expectation."""
    squares = ((estimates - truth) ** 2).sum(axis=1)
    error = squares.mean() - variance
    tolerance = Z * squares.std(ddof=1) / np.sqrt(len(squares)) + 1e-5 * variance
    assert abs(error) <= tolerance, (
        f"variance {squares.mean():.4g}, {variance:.4g} expected, {tolerance:.2g} off"
    )
