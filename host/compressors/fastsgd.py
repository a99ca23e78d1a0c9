"""FastSGD: few elements, as logarithms of their reciprocals and as differences of keys.

Yang, Chen, Zeng, Gao, "FastSGD: A Fast Compressed SGD Framework for Distributed Machine
Learning" (arXiv 2112.04291). This is a RECONSTRUCTION: only the abstract could be read.
It says that gradients are pairs of key and value; that values are mapped to
their reciprocals, quantized by logarithm and filtered by a threshold; that keys are
delta encoded, adaptively and in fine grain; and that all takes linear time. See
`logcodes` for the values, `deltas` for the keys, `pairs` for the two in a message.

    gather     every worker's pairs go to all workers, who add them in the order of
               ranks. So the paper, apart from its server.
    network    sums in the switch, which the paper has not. Logarithms do not add up:
               the integers T[p] = round(2^F b^-p) do, and the switch looks them up in
               the job's table. Keys do not add up: all workers take the union of
               their keys as common places; see `union`.

In the network M is common, and so is the table: F = tau for base 2, where T is exact,
else the largest for which n 2^F fits the sum. What a worker has dropped it sends as 0,
also where others have something: both paths have the same mean, bit for bit if base 2
and float32 hold it. One round of maximum exponents comes first, in an empty packet, and
tells all workers of a NaN or an infinity.

The threshold biases the estimate, and so does deterministic rounding: take
feedback=true. Random rounding of dense codes, where every element has a place, drops
nothing and is unbiased; base 2, tau = 6 is then NUQSGD with 4 bits.
"""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Layout, Network, moved
from host.compressors.codewise import codewise
from host.compressors.integers import (
    INTEGER_TYPES,
    IntegerFormat,
    largest_of,
    one_of,
)
from host.compressors.logcodes import NEGATIVE, LogCodes
from host.compressors.norms import LARGEST_EXPONENT, exponent_of
from host.compressors.pairs import Pairs, add_pairs, decode_pairs, encode_pairs
from host.compressors.quantize import NON_FINITE
from host.compressors.scaled import (
    PATHS,
    WIRES,
    ScaledCompressor,
    elementwise,
    largest_bits,
)
from host.compressors.stream import non_finite_error
from host.compressors.union import gather_of, union_of
from switch.codes import Table
from switch.protocol import NO_EXPONENT, ElementType

LARGEST_CODE4 = 7  # magnitude, beside the sign
SCALES = ("one", "max")
# of M: 2^e times 2^-31 is still a normal float32, the unit of a sum
SMALLEST_EXPONENT = -95


class FastSGD(ScaledCompressor):
    """See the module. State: step."""

    devices = True

    def __init__(
        self,
        *,
        base: float = 2.0,
        threshold: int = 14,
        rounding: str = "deterministic",
        scale: str = "one",
        dense: bool = False,
        path: str = "network",
        wire: str = "codes",
        result_type: str | None = None,
        seed: int = 0,
    ) -> None:
        """base: b of the logarithms, above 1. threshold: tau; what is below about
        M b^-tau is dropped. rounding: deterministic (to the nearest logarithm) or
        random. scale: M; one, beyond which elements are clipped; or max, a power of two
        that no element exceeds. dense: send every element, without keys. path: network
        or gather. wire, in the network: codes, 4 bits (for tau up to 6) or 8, which
        take a job with `tables`; or integers. result_type: of the switch's sums; None:
        for base 2 the narrowest that holds them, else int32. seed: of random rounding;
        the workers' numbers differ all the same.
        """
        super().__init__("int8", result_type, rounding, seed)
        self.result_type = result_type
        self.scale = one_of("scale", scale, SCALES)
        self.path = one_of("path", path, PATHS)
        self.wire = one_of("wire", wire, WIRES)
        self.log = LogCodes(float(base), threshold, rounding == "random", dense)
        self.sent_codes: tuple[Any, NDArray[np.float64]] | None = None
        """Codes of the last step, where its vector lies, and what each stands for."""

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        average = self.by_sum if self.path == "network" else self.by_messages
        average(vector, mean, network, layout)

    def by_sum(self, vector: Any, mean: Any, network: Network, layout: Layout) -> None:
        """Codes of one scale, added in the switch.

        From a device come codes, and sums go back. Where not all elements have a place,
        those of the others do not; a bit for each element comes before, and an index
        for each place goes back.
        """
        form, log = self.form_for(network.num_workers)
        self.check_tables(network)
        ends = np.array([len(vector)], np.int64)
        largest = int(self.max_exponents(vector, network, layout, ends)[0])
        exponent = self.exponent_of_scale(largest)
        codes = self.encode(vector, exponent, log, network)
        if largest > exponent:
            self.count_clips(vector)
        mean[:] = 0
        if largest == NO_EXPONENT:  # on all workers
            return
        where, part, average = None, codes, mean
        if not log.dense:
            union = union_of(codes != 0, network, self.statistics)
            if len(union) == 0:
                return
            where = codewise(codes).places(union, codes)
            part, average = codes[where], mean[where]
        stream = codewise(codes).sum(
            part,
            average,
            network,
            form,
            table=log.table,
            scale=math.ldexp(1.0, log.table_bits - exponent),
        )
        network.aggregate(stream)
        stream.finish()
        stream.add_to(self.statistics)
        if where is not None:
            mean[where] = average

    def by_messages(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        """Every worker's pairs, each of its own scale, added by all.

        From a device come codes, a byte an element, and float32 go back.
        """
        place, first = codewise(vector), None
        largest = exponent_of(largest_bits(vector))
        if largest == NON_FINITE:
            first = elementwise(vector).first_non_finite(vector)
        message = np.int8(NON_FINITE).tobytes()
        if first is None:
            exponent = self.exponent_of_scale(largest)
            codes = self.encode(vector, exponent, self.log, network)
            if largest > exponent:
                self.count_clips(vector)
            message = encode_pairs(place.here(codes), exponent, self.log)
        messages = gather_of(message, network, self.statistics)
        decoded = [
            self.decode(message, len(vector), rank)
            for rank, message in enumerate(messages)
        ]
        if any(exponent == NON_FINITE for exponent, _ in decoded):
            raise non_finite_error(first, layout, network.rank, self.step)
        total = place.room(mean)
        total[:] = 0
        n = network.num_workers
        # in smaller units where the sum of all might not be finite, though the mean is
        largest_sum = max(exponent for exponent, _ in decoded) + n.bit_length()
        shift = n.bit_length() if largest_sum > LARGEST_EXPONENT else 0
        for exponent, pairs in decoded:
            add_pairs(total, pairs, exponent - shift, self.log)
        total *= np.float32(2**shift / n)
        if total is not mean:
            mean[:] = moved(total, mean)

    def decode(self, message: bytes, elements: int, rank: int) -> tuple[int, Pairs]:
        """A worker's message; ValueError, which names the worker, if it is none."""
        try:
            return decode_pairs(message, elements, self.log)
        except ValueError as error:
            raise ValueError(f"worker {rank}, step {self.step}: {error}") from None

    def table_for(self, num_workers: int) -> tuple[ElementType, LogCodes]:
        """Result type, and the codes with a table for it; see `table_of`."""
        return table_of(self.log, self.result_type, num_workers)

    def form_for(self, num_workers: int) -> tuple[IntegerFormat, LogCodes]:
        """What travels, and the codes with their table."""
        result, log = self.table_for(num_workers)
        if self.wire == "integers":
            return IntegerFormat(narrowest(1 << log.table_bits), result), log
        few = log.threshold + 1 <= LARGEST_CODE4
        code = ElementType.CODE4 if few else ElementType.CODE8
        return IntegerFormat(code, result), log

    def tables(self, num_workers: int) -> dict[str, Table]:
        """Raises ValueError if there is none for so many workers."""
        if self.path == "gather" or self.wire == "integers":
            return {}
        form, log = self.form_for(num_workers)
        if form.element == ElementType.CODE8:
            return {"code8": tuple(log.table.tolist())}
        signs = log.table.reshape(2, NEGATIVE)[:, : LARGEST_CODE4 + 1]
        return {"code4": tuple(signs.reshape(-1).tolist())}

    def exponent_of_scale(self, largest: int) -> int:
        """Of M. largest: exponent of the largest element that matters."""
        return 0 if self.scale == "one" else max(largest, SMALLEST_EXPONENT)

    def encode(
        self, vector: Any, exponent: int, log: LogCodes, network: Network
    ) -> Any:
        """This worker's codes, M = 2^exponent, where the vector lies."""
        key = self.random_key(network)
        codes = codewise(vector).encode(log, vector, exponent, key)
        self.sent_codes = codes, log.values(exponent)
        return codes

    def count_clips(self, vector: Any) -> None:
        """Elements beyond M = 1. Slow path: there hardly ever are any."""
        self.statistics.clips += int((abs(vector) > 1).sum())

    def share(self) -> Any:
        if self.sent_codes is None:
            raise RuntimeError("share: there has been no average yet")
        codes, values = self.sent_codes
        return codewise(codes).look_up(values.astype(np.float32), codes)


@cache
def table_of(
    log: LogCodes, result_type: str | None, num_workers: int
) -> tuple[ElementType, LogCodes]:
    """Type of the sums, and the codes with a table of integers for the switch.

    Raises ValueError if there is none: the sum of so many workers does not fit, or the
    smallest level is no integer any more.
    """
    exact = log.base == 2
    allowed = [result_type] if result_type else list(INTEGER_TYPES)
    for name in allowed if exact else allowed[-1:]:
        share = largest_of(INTEGER_TYPES[name]) // num_workers
        bits = log.threshold if exact else share.bit_length() - 1
        if share >> max(bits, 0):
            return INTEGER_TYPES[name], replace(log, table_bits=bits)
    raise ValueError(
        f"threshold is {log.threshold}: {num_workers} workers' largest integer, "
        f"{num_workers} x 2^{log.threshold}, does not fit {allowed[-1]}: "
        f"at most {largest_of(INTEGER_TYPES[allowed[-1]]) >> log.threshold} workers"
    )


def narrowest(integer: int) -> ElementType:
    """The type with the fewest bytes that holds an integer."""
    return next(each for each in INTEGER_TYPES.values() if integer <= largest_of(each))
