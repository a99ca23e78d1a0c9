"""Round-trip time, retransmission timeout, backoff: RFC 6298, floor and ceiling added.

The estimate is a small array, so that compiled code can keep one for each of many
workers. Times are in seconds.
"""

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel

INITIAL_TIMEOUT = 0.1  # seconds, until the first sample
MIN_TIMEOUT = 0.02  # seconds; a time slice of a busy machine is not a loss
MAX_TIMEOUT = 1.0  # seconds, backoff included
SMOOTHED, VARIATION, TIMEOUT = range(3)

Estimate = NDArray[np.float64]


def new_estimate() -> Estimate:
    """No sample yet."""
    return np.array([-1.0, 0.0, INITIAL_TIMEOUT])


@kernel
def on_sample(estimate: Estimate, rtt: float) -> None:
    """Take in one round-trip time (RFC 6298, section 2)."""
    if estimate[SMOOTHED] < 0:
        estimate[SMOOTHED] = rtt
        estimate[VARIATION] = rtt / 2
    else:
        off = abs(estimate[SMOOTHED] - rtt)
        estimate[VARIATION] += (off - estimate[VARIATION]) / 4
        estimate[SMOOTHED] += (rtt - estimate[SMOOTHED]) / 8
    timeout = estimate[SMOOTHED] + 4 * estimate[VARIATION]
    estimate[TIMEOUT] = min(max(timeout, MIN_TIMEOUT), MAX_TIMEOUT)


@kernel
def timeout_after(estimate: Estimate, unanswered: int) -> float:
    """How long to wait for a packet whose last `unanswered` timeouts ran out."""
    doublings = min(unanswered, 30)
    return float(min(estimate[TIMEOUT] * (1 << doublings), MAX_TIMEOUT))
