"""host/compressors/registry.py: names and options."""

from typing import Any

import pytest

from host.compressors import compressor, names
from host.compressors.intdiana import IntDIANA
from host.compressors.registry import options


def test_every_name_makes_a_compressor() -> None:
    assert set(names()) >= {
        "exact",
        "intsgd",
        "intdiana",
        "fixed",
        "block_exponent",
        "heuristic",
        "memsgd",
        "signsgd",
    }
    for name in names():
        assert compressor(name).statistics.steps == 0


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'intsdg': must be one of exact, intsgd"):
        compressor("intsdg")


def test_unknown_options_are_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'elementtype': it has .*element_type"):
        compressor("intsgd", elementtype="int8")
    with pytest.raises(ValueError, match="exact has no option 'seed': it has none"):
        compressor("exact", seed=1)


@pytest.mark.parametrize(
    ("name", "chosen", "text"),
    [
        ("intsgd", {"element_type": "int4"}, "must be one of int8, int16, int32"),
        ("intsgd", {"element_type": 8}, "element_type is 8: must be str"),
        ("intsgd", {"rounding": "up"}, "one of random, deterministic"),
        ("intsgd", {"scale": "median"}, "one of moving_average, "),
        ("intsgd", {"first": "guess"}, "one of exponent, constant"),
        ("intsgd", {"beta": "high"}, "beta is 'high': must be float"),
        ("intsgd", {"beta": 1.0}, "below 1"),
        ("intsgd", {"alpha0": 0}, "above 0"),
        ("intsgd", {"alpha_init": -1}, "above 0"),
        ("intsgd", {"sigma": 0.1}, "the rule moving_average has none"),
        ("intsgd", {"seed": 0.5}, "seed is 0.5: must be int"),
        ("intsgd", {"seed": True}, "seed is True: must be int"),
        ("intsgd", {"clip": 1}, "clip is 1: must be bool"),
        ("intdiana", {"result_type": "int4"}, "must be one of"),
        ("fixed", {"bound": 0}, "bound is 0"),
        ("fixed", {"bound": "large"}, "bound is 'large'"),
        ("fixed", {"profile_steps": 0}, "1 or more"),
        ("fastsgd", {"base": 10**400}, "base is 1000*: must be float"),
        ("memsgd", {"k": -(10**400)}, "k is -1000*: must be float"),
    ],
)
def test_wrong_values_are_told_the_right_ones(
    name: str, chosen: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        compressor(name, **chosen)


def test_options_include_those_passed_on() -> None:
    assert set(options("intdiana")) == set(options("intsgd"))
    assert options("intdiana")["scale"].default == "plain"
    assert options("intsgd")["scale"].default == "moving_average"
    made = compressor("intdiana", beta=0.5, seed=3)
    assert isinstance(made, IntDIANA)
    assert (made.scale.options.beta, made.seed) == (0.5, 3)


def test_integers_are_numbers() -> None:
    assert compressor("fixed", bound=2)
    assert compressor("intsgd", alpha0=1, sigma=None)
