"""Which integers travel: their types, how large they may be, how many fit a packet."""

from dataclasses import dataclass

from host.codes import codes_per_chunk
from switch.protocol import (
    ELEMENT_BITS,
    ELEMENT_BYTES,
    HEADER_BYTES,
    ElementType,
    Reduction,
    kind_of,
)

INTEGER_TYPES = {
    "int8": ElementType.INT8,
    "int16": ElementType.INT16,
    "int32": ElementType.INT32,
}
CODES = (ElementType.CODE4, ElementType.CODE8)


@dataclass(frozen=True, slots=True)
class IntegerFormat:
    """Element type of the contributions, an integer or a code that the job's table
    makes one of, and result type of the sums."""

    element: ElementType
    result: ElementType

    @property
    def element_bytes(self) -> int:
        """0 for code4, of which two share a byte."""
        return ELEMENT_BITS[self.element] // 8

    @property
    def result_bytes(self) -> int:
        return ELEMENT_BYTES[self.result]

    @property
    def kind(self) -> int:
        """Byte 1 of the header, for a sum."""
        return kind_of(Reduction.SUM, self.element, self.result)

    @property
    def largest_element(self) -> int:
        """2^(bits-1) - 1 of the element type; of a code, of what the sum is."""
        return largest_of(self.result if self.element in CODES else self.element)

    @property
    def largest_result(self) -> int:
        """2^(bits-1) - 1 of the result type."""
        return largest_of(self.result)

    def budget(self, num_workers: int) -> float:
        """How much of the range one worker has: the real number that `clip_bound`
        rounds down. A scale that aims at it lets the largest element just fit."""
        return min(float(self.largest_element), self.largest_result / num_workers)

    def clip_bound(self, num_workers: int) -> int:
        """Largest |integer| that all workers may send at once without an overflow.

        IntSGD (arXiv 2102.08374) clips at (2^(b-1) - 1) / n. Taken in float32 that
        rounds up for int32: 134217728.0 for n = 16, and sixteen such integers sum to
        2^31. Hence the integer division. Types as wide as the sum's share its range;
        int8 up with int16 or int32 down need no share, as far as 127 n fits.

        Raises ValueError if that is 0: all integers would be clipped to it.
        """
        if num_workers > self.largest_result:
            raise ValueError(
                f"{num_workers} workers: {self.result.name.lower()} sums have room for "
                f"{self.largest_result}, take a wider result_type"
            )
        return min(self.largest_element, self.largest_result // num_workers)

    def elements_per_chunk(self, slot_bytes: int) -> int:
        """As many as fit the slot once reduced."""
        if self.element in CODES:
            return codes_per_chunk(slot_bytes, self.element, self.result)
        elements = slot_bytes // self.result_bytes
        if elements == 0:
            raise ValueError(
                f"slot_bytes is {slot_bytes}: too small for one {self.result.name} sum"
            )
        return elements

    def bytes_up(self, elements: int) -> int:
        """Of one contribution, header included."""
        return HEADER_BYTES + elements * ELEMENT_BITS[self.element] // 8

    def bytes_down(self, elements: int) -> int:
        """Of one result, header included."""
        return HEADER_BYTES + elements * self.result_bytes


def largest_of(integer_type: ElementType) -> int:
    return int(2 ** (8 * ELEMENT_BYTES[integer_type] - 1) - 1)


def one_of(option: str, value: str, allowed: "list[str] | tuple[str, ...]") -> str:
    """`value`, or a ValueError that lists what the option may be."""
    if value not in allowed:
        raise ValueError(f"{option} is {value!r}: must be one of {', '.join(allowed)}")
    return value


def integer_format(element_type: str, result_type: str | None) -> IntegerFormat:
    """From the names of the types; `result_type` None: the same as the elements."""
    allowed = tuple(INTEGER_TYPES)
    element = INTEGER_TYPES[one_of("element_type", element_type, allowed)]
    if result_type is None:
        return IntegerFormat(element, element)
    result = INTEGER_TYPES[one_of("result_type", result_type, allowed)]
    if result < element:
        raise ValueError(
            f"result_type is {result_type}: must be as wide as element_type "
            f"({element_type}) or wider"
        )
    return IntegerFormat(element, result)
