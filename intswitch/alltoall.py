"""How many elements go from this rank to every rank, and from every rank to this one.

Gloo does not look: what does not fit it writes beyond the output, or ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Parts(NamedTuple):
    """Elements for, and of, each rank."""

    sent: list[int]
    expected: list[int]


def parts_of_lists(outputs: list[Tensor], inputs: list[Tensor]) -> Parts:
    """Of all_to_all. Raises ValueError unless all tensors are of one type."""
    types = {str(each.dtype) for each in (*outputs, *inputs)}
    if len(types) > 1:
        told = ", ".join(sorted(types))
        raise ValueError(f"all_to_all: tensors of {told}: expected one type")
    return Parts([each.numel() for each in inputs], [each.numel() for each in outputs])


def parts_of_rows(
    output: Tensor,
    input: Tensor,
    received: Sequence[int],
    sent: Sequence[int],
    ranks: int,
) -> Parts:
    """Of all_to_all_single. received, sent: rows of, and for, each rank; none: equal
    parts. Raises ValueError for what gloo cannot do."""
    if output.dtype != input.dtype:
        raise ValueError(
            f"all_to_all_single: {input.dtype} to {output.dtype}: expected one type"
        )
    return Parts(
        elements("input", input, sent, ranks),
        elements("output", output, received, ranks),
    )


def elements(name: str, tensor: Tensor, rows: Sequence[int], ranks: int) -> list[int]:
    """In each rank's part of its rows."""
    if not tensor.is_contiguous():
        raise ValueError(
            f"all_to_all_single: {name} with strides {tensor.stride()}: "
            "expected contiguous()"
        )
    length = len(tensor)
    sizes = list(rows) or [length // ranks] * ranks
    if len(sizes) != ranks or sum(sizes) != length or min(sizes) < 0:
        raise ValueError(
            f"all_to_all_single: {name} of {length} rows in parts of {sizes}: expected "
            f"{ranks} parts, which are all of it"
        )
    return [size * (tensor.numel() // length if length else 0) for size in sizes]
