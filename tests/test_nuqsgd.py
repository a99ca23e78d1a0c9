"""host/compressors/nuqsgd.py: the bound of its variance."""

import math

import numpy as np
import pytest
from leveling import METHODS, make, train
from test_levels import moments

from host.compressors.nuqsgd import variance_bound, worst_vector


@pytest.mark.parametrize("bits", [3, 4, 5])
@pytest.mark.parametrize("d", [64, 512, 8192])
def test_nuqsgds_variance_is_within_the_bound_and_near_it(bits: int, d: int) -> None:
    """With own norms: an interval of 5 standard errors reaches below the bound, and
    above nine tenths of it, and is narrow."""
    vector, steps = worst_vector(bits, d), 800
    means, _ = train(
        np.tile(vector, (steps, 1, 1)),
        ("nuqsgd", {"bits": bits, "path": "gather", "block_size": d}),
    )[0]
    errors = ((means - vector) ** 2).sum(axis=1, dtype=float)
    relative = errors / (vector.astype(float) ** 2).sum()
    interval = 5 * relative.std() / math.sqrt(steps)
    bound = variance_bound(bits, d)
    assert relative.mean() - interval <= bound
    assert relative.mean() + interval >= 0.9 * bound
    assert interval < 0.15 * bound, "too few steps to say"


def test_a_common_norm_costs_what_is_proved() -> None:
    """algorithms.md 5.2: ||g||^2 / 8 + min(2^-s M sqrt(d) ||g||, 4^-s M^2 d / 4) for a
    worker, here for the exact values of the variance."""
    rng = np.random.default_rng(0)
    for factor in (1, 3, 30, 1000):
        g = rng.normal(size=512)
        norm = np.linalg.norm(g)
        unit = factor * norm / 64
        grid = make(METHODS["nuqsgd"]).grid
        exact = moments(g / unit, grid)[0].sum() * unit**2
        d = len(g)
        bound = norm**2 / 8 + min(unit * math.sqrt(d) * norm, unit**2 * d / 4)
        assert 0.1 * bound < exact <= bound
