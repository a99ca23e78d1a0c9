"""Whether estimates of a vector are unbiased, and as precise as they should be.

`estimates` are float64[steps, d], drawn with other coins in every step; `truth` is
float64[d]; `variance` and `jump`, float64[d], are what one draw of an element should
have as its variance, and how far apart its values can be at most. Each check raises
AssertionError. Intervals are Bernstein's for 5 standard errors: for what is right a
draw lies outside less than 8 times in a million, and the draws are seeded.
"""

import numpy as np
from numpy.typing import NDArray

Z = 5.0
ROUNDING = 1e-6  # of float32, relative
Floats = NDArray[np.float64]


def allowed(variance: Floats, jump: Floats, steps: int) -> Floats:
    """Bernstein's inequality, for the mean of so many draws."""
    return Z * np.sqrt(variance / steps) + Z**2 / 3 * jump / steps


def check_elements_unbiased(
    estimates: Floats, truth: Floats, variance: Floats, jump: Floats
) -> None:
    """Each element's mean over the steps is the truth."""
    error = np.abs(estimates.mean(axis=0) - truth)
    tolerance = allowed(variance, jump, len(estimates)) + ROUNDING * np.abs(truth)
    worst = int(np.argmax(error - tolerance))
    assert (error <= tolerance).all(), (
        f"element {worst}: {error[worst]:.3g} off, {tolerance[worst]:.3g} allowed"
    )


def check_weighted(
    estimates: Floats, truth: Floats, variance: Floats, jump: Floats, weight: Floats
) -> None:
    """A weighted sum of all elements sees what none of them alone can show."""
    error = float(np.abs((estimates - truth).mean(axis=0) @ weight))
    total, largest = variance @ weight**2, (jump * np.abs(weight)).max()
    tolerance = float(allowed(total, largest, len(estimates)))
    tolerance += ROUNDING * float(np.abs(truth * weight).sum())
    assert error <= tolerance, f"weighted: {error:.3g} off, {tolerance:.3g} allowed"


def check_unbiased(
    estimates: Floats, truth: Floats, variance: Floats, jump: Floats
) -> None:
    """Every element; the component along the truth (a factor); the sum away from zero
    (a bias outward or inward, as that of rounding up too often)."""
    check_elements_unbiased(estimates, truth, variance, jump)
    check_weighted(estimates, truth, variance, jump, truth)
    check_weighted(estimates, truth, variance, jump, np.sign(truth))


def check_variance(estimates: Floats, truth: Floats, variance: Floats) -> None:
    """The squared error, summed over the elements, has the expectation that it should
    have. The interval is from the draws themselves."""
    squares = ((estimates - truth) ** 2).sum(axis=1)
    error = squares.mean() - variance.sum()
    tolerance = Z * squares.std(ddof=1) / np.sqrt(len(squares))
    tolerance += 10 * ROUNDING * variance.sum()
    assert abs(error) <= tolerance, (
        f"variance {squares.mean():.4g}, {variance.sum():.4g} +- {tolerance:.2g} due"
    )
