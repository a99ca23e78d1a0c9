"""Round-trip time, retransmission timeout, backoff: RFC 6298, with a floor, a ceiling,
and an end of the backoff.

The estimate is a small array, so that compiled code can keep one for each of many
workers. Times are in seconds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel

INITIAL_TIMEOUT = 0.1  # seconds, until the first sample
MIN_TIMEOUT = 0.02  # seconds; a time slice of a busy machine is not a loss
MAX_TIMEOUT = 1.0  # seconds, backoff included
MOST_DOUBLINGS = 3  # of the timeout, by backoff
SMOOTHED, VARIATION, TIMEOUT, FLOOR, CEILING = range(5)

Estimate = NDArray[np.float64]


class Recovery(NamedTuple):
    """When a packet counts as lost. The defaults are for processes on a busy machine;
    virtual time, which has no scheduler, can do with less. Times are in seconds."""

    initial: float = INITIAL_TIMEOUT
    """Timeout until the first sample."""
    floor: float = MIN_TIMEOUT
    ceiling: float = MAX_TIMEOUT
    """Of the timeout, backoff included."""
    patience: float = 1e-3
    """At least so long after it was sent, when one sent later has been answered; inf:
    such answers are no evidence (timers alone)."""
    packet_threshold: int = 0
    """Lost at once when the answered packets include one sent so many later (RFC 9002,
    section 6.1.1, has 3). It doubles when a loss turns out to have been reordering. 0:
    no such rule."""


PATIENT = Recovery()


def with_threshold(packets: int) -> Recovery:
    """The defaults, with this packet threshold. Raises ValueError if it is negative."""
    if packets < 0:
        raise ValueError(f"packet_threshold is {packets}: must be 0 or more")
    return PATIENT._replace(packet_threshold=packets)


def new_estimate(recovery: Recovery = PATIENT) -> Estimate:
    """No sample yet."""
    return np.array([-1.0, 0.0, recovery.initial, recovery.floor, recovery.ceiling])


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
    estimate[TIMEOUT] = min(max(timeout, estimate[FLOOR]), estimate[CEILING])


@kernel
def timeout_after(estimate: Estimate, unanswered: int) -> float:
    """How long to wait for a packet whose last `unanswered` timeouts ran out.

    Backoff ends at a few doublings. It is not what saves a network from repeats:
    without evidence of a loss only the oldest chunk is tried, from the fourth time on
    with a query, a header alone. Up to 1 s, it was where links that lose a fifth of
    their packets spent four fifths of their time.
    """
    doublings = min(unanswered, MOST_DOUBLINGS)
    return float(min(estimate[TIMEOUT] * (1 << doublings), estimate[CEILING]))
