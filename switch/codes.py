"""Code tables: what a switch makes of the codes of a contribution before it adds them.

A job may have a table of 16 integers for code4 and one of 256 for code8. A code c
stands for table[c]. A sum of n workers is then at most n times the largest |entry|,
which is known when the table is installed: result types that this fits are allowed,
narrower ones are malformed, and no sum of codes ever leaves its range.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.protocol import ELEMENT_BYTES

Bytes = NDArray[np.uint8]
Lanes = NDArray[Any]  # int8, int16 or int32
Entries = NDArray[np.int32]
Table = tuple[int, ...]
"""One integer for each code."""

TABLE_SIZES = {"code4": 16, "code8": 256}
"""Entries of a table, by the name of the element type; in the order of their codes."""
LARGEST = tuple((1 << (8 * width - 1)) - 1 for width in ELEMENT_BYTES)
"""Of int8, int16, int32."""
NO_TABLE = len(LARGEST)
"""Narrowest result type of a job without a table: wider than there are any."""


def objection_to_table(name: str, table: Table, num_workers: int) -> str | None:
    """Why no switch can take this table for so many workers, or None."""
    if len(table) != TABLE_SIZES[name]:
        return f"{name} has {len(table)} entries: expected {TABLE_SIZES[name]}"
    largest = max(map(abs, table))
    if largest * num_workers <= LARGEST[-1]:
        return None
    enough = LARGEST[-1] // largest
    allowed = f"num_workers up to {enough}" if enough else "not even one worker"
    return (
        f"{name}: {num_workers} workers times the largest entry, {largest}, is"
        f" {num_workers * largest}, and an int32 sum holds {LARGEST[-1]}:"
        f" this table allows {allowed}"
    )


def objections_to_tables(
    code4: Table | None, code8: Table | None, num_workers: int
) -> Iterator[str]:
    """Why no switch can take these tables for so many workers. None: no table."""
    for name, table in zip(TABLE_SIZES, (code4, code8), strict=True):
        objection = (
            objection_to_table(name, table, num_workers) if table is not None else None
        )
        if objection:
            yield objection


def narrowest_result(table: Table | None, num_workers: int) -> int:
    """The narrowest result type that no sum of so many workers leaves.

    NO_TABLE if there is no table. The table is one to which there is no objection.
    """
    if table is None:
        return NO_TABLE
    largest = num_workers * max(map(abs, table))
    return min(lane for lane, limit in enumerate(LARGEST) if largest <= limit)


@kernel
def look_up4(lanes: Lanes, payload: Bytes, table: Entries) -> None:
    """Two codes a byte, the first in the high nibble."""
    for i in range(payload.size):
        lanes[2 * i] = table[payload[i] >> 4]
        lanes[2 * i + 1] = table[payload[i] & 0xF]


@kernel
def look_up8(lanes: Lanes, payload: Bytes, table: Entries) -> None:
    for i in range(payload.size):
        lanes[i] = table[payload[i]]
