"""host/compressors/integers.py: bounds and sizes."""

import pytest

from host.compressors.integers import integer_format
from switch.protocol import HEADER_BYTES

TYPES = ("int8", "int16", "int32")


@pytest.mark.parametrize("element", TYPES)
@pytest.mark.parametrize("result", TYPES)
def test_all_workers_at_the_clip_bound_never_overflow(
    element: str, result: str
) -> None:
    if TYPES.index(result) < TYPES.index(element):
        return
    form = integer_format(element, result)
    for n in range(1, 65):
        bound = form.clip_bound(n)
        assert 1 <= bound <= form.largest_element
        assert n * bound <= form.largest_result
        fits = bound == form.largest_element or n * (bound + 1) > form.largest_result
        assert fits, "the bound could be larger"
        assert bound <= form.budget(n) < bound + 1


def test_float32_would_clip_beyond_the_bound() -> None:
    """The trap: (2^31 - 1) / 16 is no float32, and sixteen of the next one wrap."""
    import numpy as np

    in_float32 = int(np.float32(2**31 - 1) / np.float32(16))
    assert in_float32 * 16 == 2**31
    assert integer_format("int32", None).clip_bound(16) == in_float32 - 1


def test_wider_sums_leave_the_elements_their_range() -> None:
    assert integer_format("int8", "int32").clip_bound(64) == 127
    assert integer_format("int8", "int16").clip_bound(64) == 127
    assert integer_format("int8", "int8").clip_bound(64) == 1


def test_chunks_are_counted_in_results() -> None:
    form = integer_format("int8", "int32")
    assert form.elements_per_chunk(1024) == 256
    assert form.bytes_up(256) == HEADER_BYTES + 256
    assert form.bytes_down(256) == HEADER_BYTES + 1024
    with pytest.raises(ValueError, match="slot_bytes is 3: too small"):
        form.elements_per_chunk(3)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"element_type is 'int4'.*int8, int16, int32"):
        integer_format("int4", None)
    with pytest.raises(ValueError, match="result_type is 'float'"):
        integer_format("int8", "float")
    with pytest.raises(ValueError, match="as wide as element_type"):
        integer_format("int16", "int8")


def test_a_type_in_which_all_would_be_clipped_to_zero_is_refused() -> None:
    assert integer_format("int8", None).clip_bound(127) == 1
    with pytest.raises(ValueError, match="128 workers: int8 sums have room for 127"):
        integer_format("int8", None).clip_bound(128)
    assert integer_format("int8", "int16").clip_bound(128) == 127
