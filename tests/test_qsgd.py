"""host/compressors/qsgd.py: the bound of its variance."""

import math

import numpy as np
import pytest
from leveling import Method, gaussian, train

from host.compressors.qsgd import variance_bound


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("d", [16, 512, 8192])
def test_qsgds_variance_is_within_its_bound(bits: int, d: int) -> None:
    gradient = gaussian(1, 1, d)
    method: Method = ("qsgd", {"bits": bits, "path": "gather", "block_size": d})
    means, _ = train(np.repeat(gradient, 50, axis=0), method)[0]
    relative = ((means - gradient[0]) ** 2).sum(axis=1, dtype=float)
    relative /= (gradient.astype(float) ** 2).sum()
    bound = variance_bound(bits, d)
    assert relative.mean() <= bound + 5 * relative.std() / math.sqrt(50)
