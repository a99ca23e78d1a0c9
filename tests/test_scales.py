"""host/compressors/scales.py: alpha, by the formulas and by their claims."""

import math

import numpy as np
import pytest

from host.compressors.base import Layout, Piece
from host.compressors.scales import (
    RULES,
    Scale,
    ScaleOptions,
    exponent_scale,
    squared_norms,
    usable_scale,
)
from switch.protocol import NO_EXPONENT

D, N = 5000, 8
WHOLE = Layout(("gradient",), np.array([D]))
LAYERS = Layout(("a", "b", "c"), np.array([1000, 1500, D]))


def alpha_after(norms: list[float], **options: object) -> float:
    """Of a whole vector whose estimates had these squared norms."""
    scale = Scale(ScaleOptions(**options))  # type: ignore[arg-type]
    for norm in norms:
        scale.observe(WHOLE, [norm])
    return float(scale.scales(WHOLE, N)[0])


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-6)  # a float32


@pytest.mark.parametrize("norm", [1e-12, 0.25, 1e6])
def test_each_rule_after_one_step(norm: float) -> None:
    root = math.sqrt(D)
    assert alpha_after([norm]) == near(root / math.sqrt(2 * N * (norm + 1e-16)))
    assert alpha_after([norm], rule="plain") == near(root / math.sqrt(2 * N * norm))
    safeguard = alpha_after([norm], rule="moving_average_safeguard", sigma=0.5)
    assert safeguard == near(root / math.sqrt(2 * N * norm + 0.25))
    assert alpha_after([norm], rule="constant") == near(root / 1e-3)
    blockwise = alpha_after([norm], rule="blockwise", sigma=0.5)
    assert blockwise == near(math.sqrt(D / (2 * N * norm + 0.25)))


def test_the_past_counts_beta() -> None:
    r = 0.9 * (0.9 * 4.0 + 0.1 * 9.0) + 0.1 * 1.0
    assert alpha_after([4.0, 9.0, 1.0]) == near(math.sqrt(D / (2 * N * r)))
    half = 0.5 * 4.0 + 0.5 * 9.0
    assert alpha_after([4.0, 9.0], beta=0.5) == near(math.sqrt(D / (2 * N * half)))
    plain = alpha_after([4.0, 9.0], rule="plain")
    assert plain == near(math.sqrt(D / (2 * N * 9.0)))


@pytest.mark.parametrize("rule", RULES)
def test_alpha0_is_a_factor(rule: str) -> None:
    once = alpha_after([0.5], rule=rule)
    assert alpha_after([0.5], rule=rule, alpha0=3.0) == near(3 * once)


@pytest.mark.parametrize("rule", ["moving_average", "plain"])
def test_rounding_noise_is_half_of_r(rule: str) -> None:
    """d / (4 n alpha^2) = r / 2: the claim that alpha is made for."""
    alpha = alpha_after([0.37], rule=rule)
    assert D / (4 * N * alpha**2) == near(0.37 / 2)


def test_no_scale_before_the_first_estimate() -> None:
    for rule in RULES:
        expected = rule == "constant"
        scales = Scale(ScaleOptions(rule)).scales(WHOLE, N)
        assert bool(scales[0] > 0) == expected


def test_a_zero_estimate_is_no_first_estimate() -> None:
    assert alpha_after([0.0]) == 0
    assert alpha_after([0.0, 4.0]) == alpha_after([4.0])
    assert alpha_after([4.0, 0.0]) == near(math.sqrt(D / (2 * N * 3.6)))


def test_blocks_have_scales_of_their_own_by_name() -> None:
    scale = Scale(ScaleOptions("blockwise", sigma=0.1))
    assert scale.blocks_of(LAYERS) is LAYERS
    scale.observe(LAYERS, [1.0, 2.0, 3.0])
    alphas = scale.scales(LAYERS, N)
    for alpha, size, r in zip(alphas, (1000, 500, 3500), (1.0, 2.0, 3.0), strict=True):
        assert alpha == near(math.sqrt(size / (2 * N * r + size / D * 0.01)))
    turned = Layout(("c", "b", "a"), np.array([3500, 4000, D]))
    assert scale.scales(turned, N).tolist() == alphas.tolist()[::-1]
    bucket = Layout(("b", "new"), np.array([500, 600]))
    assert scale.scales(bucket, N)[1] == 0


def test_other_rules_see_one_vector() -> None:
    blocks = Scale(ScaleOptions("plain")).blocks_of(LAYERS)
    assert (blocks.names, blocks.ends.tolist()) == (("gradient",), [D])


def test_an_empty_block_needs_no_estimate() -> None:
    layout = Layout(("a", "empty"), np.array([D, D]))
    scale = Scale(ScaleOptions("blockwise"))
    scale.observe(layout, [1.0, 0.0])
    assert (scale.scales(layout, N) > 0).all()


def test_state_goes_on_bit_for_bit() -> None:
    one, other = Scale(ScaleOptions()), Scale(ScaleOptions())
    one.observe(WHOLE, [0.1])
    other.load_state_dict(one.state_dict())
    for scale in (one, other):
        scale.observe(WHOLE, [0.7])
    assert one.averages == other.averages == {"gradient": 0.9 * 0.1 + (1 - 0.9) * 0.7}


def test_pieces_of_a_step_that_failed_do_not_count() -> None:
    failed, smooth = Scale(ScaleOptions()), Scale(ScaleOptions())
    failed.observe(WHOLE, [5.0], Piece(0, last=False))
    for scale in (failed, smooth):
        scale.observe(WHOLE, [0.1], Piece(0, last=False))
        scale.observe(WHOLE, [0.2], Piece(1, last=True))
    expected = {"averages": {"gradient": 0.1 + 0.2}, "elements": 2 * D}
    assert failed.state_dict() == smooth.state_dict() == expected


@pytest.mark.parametrize("n", [1, 3, 16, 64])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_exponent_scale_never_passes_the_bound(n: int, bits: int) -> None:
    bound = (2 ** (bits - 1) - 1) // n
    for exponent in range(-60, 127):
        largest = np.float32((1 - 2.0**-24) * 2.0**exponent)
        scale = exponent_scale(bound, exponent)
        product = np.float32(largest * scale)
        assert int(np.ceil(product)) <= bound
        assert product > bound * 0.999 - 1


def test_scales_are_usable_floats() -> None:
    assert usable_scale(1e300) == np.float32(2.0**120)
    assert usable_scale(0.0) == np.float32(2.0**-126)
    assert exponent_scale(127, NO_EXPONENT) == 1
    assert exponent_scale(2**31 - 1, -126) == np.float32(2.0**120)
    with np.errstate(all="raise"):
        assert np.isfinite(np.float32(1 / (64 * float(usable_scale(0.0)))))
        assert np.float32(1 / (64 * float(usable_scale(math.inf)))) == 2.0**-126


def test_norms_come_from_exact_integers() -> None:
    """(3 * 2^62 + 1) has no float64: one rounding, whatever the machine."""
    exact = 3 * 2**62 + 1
    norms = squared_norms([exact, 4], np.array([0.5, 2.0], np.float32), 4)
    assert norms == [float(exact) / 4, 4 / 64]
