"""Trains as `switch.udp.couple` leaves them, and the packets that they stand for."""

import numpy as np


def rows(*trains: tuple[int, int, int, int]) -> np.ndarray:
    """Trains as `couple` leaves them: offset, length, segment, destination."""
    return np.array(trains, np.int64).reshape(-1, 4)


def packets_of(buffer: np.ndarray, trains: np.ndarray) -> list[tuple[bytes, int]]:
    """The packets that trains stand for, with their destinations, in order."""
    return [
        (buffer[start + cut : start + min(cut + segment, length)].tobytes(), number)
        for start, length, segment, number in trains.tolist()
        for cut in range(0, length, segment)
    ]


def random_bytes(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)
