"""host/compressors/level_sum.py: sums of levels, exact up to the last worker."""

import numpy as np
import pytest
from leveling import SLOT, Gradients, make
from local_network import LocalNetwork, results_of, run_workers

from host.compressors.leveled import Leveled

LIMITS = [
    ("nuqsgd", 3, "int8", 31),
    ("nuqsgd", 4, "int8", 1),
    ("nuqsgd", 4, "int16", 511),
    ("nuqsgd", 5, "int16", 1),
    ("qsgdinf", 4, "int8", 18),
    ("qsgdinf", 8, "int16", 258),
]


@pytest.mark.parametrize(("name", "bits", "result_type", "limit"), LIMITS)
def test_the_largest_number_of_workers_and_one_more(
    name: str, bits: int, result_type: str, limit: int
) -> None:
    """All elements of all workers are the largest level: the sum is exact, and the
    network here detects overflows. One worker more is refused, with the reason."""
    linf = {"norm": "linf"} if name == "nuqsgd" else {}
    options = {"bits": bits, "result_type": result_type, "common": "max"} | linf
    gradient = np.tile(np.array([1, -1], np.float32), 20)

    def work(network: LocalNetwork) -> tuple[Gradients, Leveled]:
        made = make((name, options))
        return made.average(gradient, network), made

    outcome = results_of(run_workers(limit, work, slot_bytes=SLOT))
    for mean, made in (outcome[0], outcome[-1]):
        np.testing.assert_allclose(mean, gradient, rtol=1e-6)
        assert made.statistics.largest_sum == limit * int(made.grid.top)
        assert made.statistics.overflows == 0
    with pytest.raises(ValueError, match=rf"does not fit: it allows {limit} workers"):
        make((name, options)).form_for(limit + 1)


def test_without_a_result_type_the_narrowest_is_taken() -> None:
    taken = {
        (name, bits, n): make((name, {"bits": bits})).form_for(n).result.name.lower()
        for name, bits, n in [
            *(("nuqsgd", 3, 31), ("nuqsgd", 3, 32), ("nuqsgd", 4, 1)),
            *(("nuqsgd", 4, 2), ("nuqsgd", 4, 512), ("nuqsgd", 5, 1)),
            *(("nuqsgd", 5, 2), ("qsgd", 4, 18), ("qsgd", 4, 19), ("qsgd", 8, 4)),
        ]
    }
    assert list(taken.values()) == [
        *("int8", "int16", "int8", "int16", "int32", "int16"),
        *("int32", "int8", "int16", "int16"),
    ]
