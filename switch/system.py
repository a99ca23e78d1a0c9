"""The system calls of the data path, for kernels: without Python, without its lock.

The first four are the C library's, and return -1 for an error; `last_error` tells
which. Addresses of memory are integers.
"""

import errno
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import external, kernel

sendmmsg = external("sendmmsg", "int32", "int32", "uint64", "uint32", "int32")
recvmmsg = external("recvmmsg", "int32", "int32", "uint64", "uint32", "int32", "uint64")
poll = external("poll", "int32", "uint64", "uint64", "int32")
sched_yield = external("sched_yield", "int32")
_clock_gettime = external("clock_gettime", "int32", "int32", "uint64")
_errno_location = external("__errno_location", "uint64")
_memcpy = external("memcpy", "uint64", "uint64", "uint64", "uint64")

CLOCK_MONOTONIC = 1
DONT_WAIT = 0x40  # MSG_DONTWAIT
POLL_IN = 1
EAGAIN, EINTR = errno.EAGAIN, errno.EINTR

# struct pollfd
POLL = np.dtype(
    [("descriptor", np.int32), ("events", np.int16), ("returned", np.int16)]
)


class Room(NamedTuple):
    """Where the system leaves its answers."""

    time: NDArray[np.int64]
    """[2] seconds, nanoseconds."""
    error: NDArray[np.int32]
    """[1]"""


def new_room() -> Room:
    return Room(np.zeros(2, np.int64), np.zeros(1, np.int32))


@kernel
def clock(room: Room) -> float:
    """Seconds of the monotonic clock, as `time.monotonic` has them."""
    _clock_gettime(CLOCK_MONOTONIC, room.time.ctypes.data)
    return float(room.time[0] + 1e-9 * room.time[1])


@kernel
def last_error(room: Room) -> int:
    """errno of the call just made."""
    _memcpy(room.error.ctypes.data, _errno_location(), 4)
    return int(room.error[0])
