"""Natural compression: a sign and an exponent, the fraction rounded away at random.

Horvath, Ho, Horvath, Sahu, Canini, Richtarik, "Natural Compression for Distributed Deep
Learning" (arXiv 1905.10988, MSML 2022): |v| goes to one of the two powers of two around
it, so that the mean is v; the variance is at most v^2 / 8. These are dense log codes of
base 2 with random rounding, see `logcodes`. They name the exponent relative to M, a
power of two above the largest element:

    gather     7 bits of exponent, so that nothing is lost from M down to 2^-126 M, and
               the sign. M is the worker's own.
    network    the switch adds the integers 2^(F-p), M is common, and F the largest for
               which n 2^F fits the sum: int32 has F = 29, 28, 27, 26 for n = 2, 4, 8,
               16; int16 has 13, 12, 11, 10. Below 2^-F M there are no more powers of
               two: such elements become 2^-F M or 0, at random. That is unbiased too,
               but the variance of an element is 2^-F M |v| - v^2.

Differences from the paper: it sends the float's own exponent, 8 bits and the sign, and
compresses the sum again on the way down, which the switch here does not. Denormals are
dropped, and M is at least 2^-95.
"""

from host.compressors.fastsgd import FastSGD, table_of
from host.compressors.integers import INTEGER_TYPES, largest_of, one_of
from host.compressors.logcodes import LARGEST_THRESHOLD, LogCodes
from switch.protocol import ElementType


class Natural(FastSGD):
    """See the module. State: step."""

    def __init__(
        self,
        *,
        path: str = "network",
        wire: str = "codes",
        result_type: str = "int32",
        seed: int = 0,
    ) -> None:
        """path: network or gather. wire: codes of 8 bits, which take a job with
        `tables`, or integers. result_type: of the switch's sums, int8, int16 or int32.
        seed: of random rounding; the workers' numbers differ all the same."""
        super().__init__(
            threshold=LARGEST_THRESHOLD,
            rounding="random",
            scale="max",
            dense=True,
            path=path,
            wire=wire,
            result_type=one_of("result_type", result_type, tuple(INTEGER_TYPES)),
            seed=seed,
        )
        self.widest = INTEGER_TYPES[result_type]

    def table_for(self, num_workers: int) -> tuple[ElementType, LogCodes]:
        """Of as many powers of two as the sum has room for."""
        share = largest_of(self.widest) // num_workers
        threshold = max(share.bit_length() - 1, 0)
        log = LogCodes(2.0, threshold, random=True, dense=True)
        return table_of(log, self.result_type, num_workers)
