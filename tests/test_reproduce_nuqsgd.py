"""NUQSGD's claims hold for NUQSGD, and for nothing that is broken in some way."""

import dataclasses
import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from reproductions import curves, some

pytest.importorskip("torch")

from host.compressors import leveled, scaled
from host.compressors.nuqsgd import NUQSGD
from host.compressors.qsgdinf import QSGDinf
from host.compressors.registry import COMPRESSORS
from intswitch.reproduce import nuqsgd, nuqsgd_figure
from intswitch.reproduce import nuqsgd_runs as runs
from intswitch.reproduce.claims import Claim, Options, Quiet
from intswitch.reproduce.training import Curve

DRAWS = 40


def variances(*names: str) -> dict[tuple[str, str, int], runs.Drawn]:
    given = runs.vectors(0)
    return {
        (name, kind, block): runs.drawn(
            runs.as_coded(name, block), given[kind], DRAWS, 0
        )
        for name in names
        for kind in given
        for block in (nuqsgd.SMALL, runs.D)
    }


def of_nuqsgd() -> dict[str, Any]:
    """The experiments about its rounding, in small."""
    sparse = "nuqsgd:bits=3,path=gather,block_size=8192"
    return {
        "bounds": runs.bounds(DRAWS, 0, Quiet()),
        "sparse": runs.drawn(sparse, runs.vectors(0)["Gaussian"], DRAWS, 0),
        "common": {
            name: runs.drawn(method, runs.spread(0), DRAWS, 0)
            for name, method in runs.COMMON.items()
        },
    }


def steady(mean: float) -> list[float]:
    return [mean * (1 + 0.01 * (step % 3)) for step in range(12)]


@cache
def right() -> runs.Found:
    """Of the experiments, those about rounding alone."""
    alike = np.full((1, runs.D), 1.0, np.float32)
    noise = {"QSGD": 20.0, "QSGDinf": 1.0, "NUQSGD": 1.1}
    return some(
        runs.Found,
        variances=variances(*runs.NAMES),
        uniform=runs.drawn("qsgd:path=gather,block_size=8192", alike, DRAWS, 0),
        noise=runs.Noise({name: steady(mean) for name, mean in noise.items()}),
        **of_nuqsgd(),
    )


def redrawn() -> runs.Found:
    """The same with what NUQSGD is now."""
    drawn = right().variances | variances("NUQSGD")
    return dataclasses.replace(right(), variances=drawn, **of_nuqsgd())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuqsgd, "BLOCKS", (nuqsgd.SMALL, runs.D))


def verdicts(found: runs.Found) -> dict[str, list[bool]]:
    parts = {
        "unbiased": nuqsgd.unbiased_claims,
        "bound": nuqsgd.bound_claims,
        "blocks": nuqsgd.block_claims,
        "common": nuqsgd.common_claims,
    }
    return {
        name: [claim.holds for claim in part(found)] for name, part in parts.items()
    }


RIGHT = {
    "unbiased": [True],
    "bound": [True, True, True],
    "blocks": [True, True],
    "common": [True],
}


@pytest.mark.usefixtures("small_blocks")
def test_rounding_is_as_claimed() -> None:
    assert verdicts(right()) == RIGHT


def spoilt(base: Any, change: Any, **options: Any) -> Any:
    """A compressor whose means are changed afterwards."""

    class Spoilt(base):  # type: ignore[misc]
        def average(self, gradient: Any, *arguments: Any) -> Any:
            mean = super().average(gradient, *arguments)
            return change(mean).astype(np.float32)

    return Spoilt


NOISE = np.random.default_rng(5)


def noisy(mean: Any) -> Any:
    """More variance than any bound, without a bias."""
    norm = np.linalg.norm(mean) / np.sqrt(len(mean))
    return mean + 6 * norm * NOISE.normal(size=len(mean))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda mean: 0.97 * mean, ["unbiased"]),
        (lambda mean: mean * (1 + 0.06 * (mean > 0)), ["unbiased"]),
        (noisy, ["bound", "blocks"]),
    ],
    ids=["shrinks", "rounds up", "noisy"],
)
def test_means_that_are_spoilt_are_found_out(
    monkeypatch: pytest.MonkeyPatch, change: Any, broken: list[str]
) -> None:
    right()
    monkeypatch.setitem(COMPRESSORS, "nuqsgd", spoilt(NUQSGD, change))
    found = verdicts(redrawn())
    for name in broken:
        assert found[name] != RIGHT[name], name


@pytest.mark.usefixtures("small_blocks")
def test_coins_that_do_not_change_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right()
    key = scaled.random_key
    monkeypatch.setattr(
        scaled,
        "random_key",
        lambda seed, worker, step, piece: key(seed, worker, 0, piece),
    )
    assert verdicts(redrawn())["unbiased"] == [False]


@pytest.mark.usefixtures("small_blocks")
def test_other_levels_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """QSGD's levels in the place of NUQSGD's."""

    class Uniform(NUQSGD):
        def __init__(self, norm: str = "l2", **options: Any) -> None:
            leveled.Leveled.__init__(self, "uniform", norm, **options)

    right()
    monkeypatch.setitem(COMPRESSORS, "nuqsgd", Uniform)
    found = verdicts(redrawn())
    assert found["bound"][0] is False
    assert found["blocks"][0] is False


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("name", "factor"), [("QSGD", 0.2), ("NUQSGD", 3.0), ("QSGDinf", 0.5)]
)
def test_other_noise_in_a_training_is_found_out(name: str, factor: float) -> None:
    squares = dict(right().noise.squares)
    squares[name] = [factor * each for each in squares[name]]
    changed = dataclasses.replace(right(), noise=runs.Noise(squares))
    assert [claim.holds for claim in nuqsgd.block_claims(changed)] == [True, False]


# trainings


def curves_of(factor: float, diverged: int | None = None) -> list[Curve]:
    """Of three seeds, whose final losses differ; `factor` times those of SGD."""
    chance = np.random.default_rng(int(100 * factor))
    losses = [factor * seed * (1 + 0.01 * chance.normal()) for seed in (1.0, 1.2, 0.7)]
    return curves(losses, diverged=diverged)


FACTORS = {
    "QSGD": 3.0,
    "QSGDinf": 1.0,
    "NUQSGD": 0.98,
    "NUQSGD in the network": 1.01,
    "QSGDinf in the network": 1.0,
}


def trained(name: str | None = None, diverged: int | None = None) -> list[Claim]:
    """With one of the methods the other way round, or diverged."""
    factors = dict(FACTORS)
    if name:
        factors[name] = 1.0 if factors[name] > 1.2 else 1.4
    made = {each: curves_of(factor) for each, factor in factors.items()}
    if diverged and name:
        made[name] = curves_of(1.0, diverged)
    found = some(runs.Found, curves={"SGD": curves_of(1.0), **made})
    return list(nuqsgd.training_claims(found))


@pytest.mark.parametrize("name", [None, *FACTORS])
def test_trainings_that_match_or_not_are_told(name: str | None) -> None:
    holds = [claim.holds for claim in trained(name)]
    assert holds == [each != name for each in FACTORS]


@pytest.mark.parametrize("name", list(FACTORS))
def test_what_diverges_does_not_match(name: str) -> None:
    claims = trained(name, diverged=7)
    holds = dict(zip(FACTORS, (claim.holds for claim in claims), strict=True))
    assert holds == {each: each != name or each == "QSGD" for each in FACTORS}
    (told,) = (
        claim.measured
        for claim, each in zip(claims, FACTORS, strict=True)
        if each == name
    )
    assert "diverged in 3 of 3 seeds (step 7, 7, 7)" in told


def mixed(factor: float, ended: int) -> list[Curve]:
    """Of four seeds, some of which diverge."""
    return [*curves([0.1] * ended, diverged=7), *curves([factor] * (4 - ended))]


@pytest.mark.parametrize("ended", range(5))
def test_seeds_that_diverge_are_counted_and_the_others_judged(ended: int) -> None:
    """Worse if most of four diverge, or if the others, two or more, lose."""
    sgd = curves([1.0] * 4)
    equal, worse = (mixed(factor, ended) for factor in (1.0, 1.5))
    assert nuqsgd.matches(equal, sgd) is (ended == 0)
    assert nuqsgd.is_worse(equal, sgd) is (ended > 2)
    assert nuqsgd.is_worse(worse, sgd)
    told = nuqsgd.outcome(worse, sgd)
    assert (f"diverged in {ended} of 4 seeds" in told) is (ended > 0)
    assert ("training loss 1.50 times SGD's" in told) is (ended <= 2)


@pytest.mark.parametrize("ended", [1, 2])
def test_one_seed_that_is_left_shows_nothing(ended: int) -> None:
    """Of the method, or of SGD."""
    one, whole = [*curves([1.0], diverged=7), *curves([9.0])], curves([1.0] * 2)
    pair = (one, whole) if ended == 1 else (whole, one)
    assert not nuqsgd.matches(*pair)
    assert not nuqsgd.is_worse(*pair)


@pytest.mark.parametrize(
    ("name", "block", "factor", "expected"),
    [
        (None, 0, 1.0, [True, True]),
        ("NUQSGD", 64, 1.5, [False, True]),
        ("NUQSGD", 8192, 1.0, [False, True]),
        ("QSGDinf", 512, 1.5, [True, False]),
    ],
)
def test_sensitivity_to_the_block_is_told(
    name: str | None, block: int, factor: float, expected: list[bool]
) -> None:
    sensitive = {
        (each, size): curves_of(2.0 if each == "NUQSGD" and size == runs.D else 1.0)
        for each in ("NUQSGD", "QSGDinf")
        for size in runs.SENSITIVE
    }
    if name:
        sensitive[name, block] = curves_of(factor)
    found = some(runs.Found, sensitive=sensitive, curves={"SGD": curves_of(1.0)})
    claims = nuqsgd.sensitivity_claims(found)
    assert [claim.holds for claim in claims] == expected


def test_a_training_that_diverges_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")

    def blown_up(mean: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return 1e20 * mean

    monkeypatch.setitem(COMPRESSORS, "qsgdinf", spoilt(QSGDinf, blown_up))
    curve = runs.train("qsgdinf", "digits", num_workers=2, seed=0, steps=9)
    assert curve.diverged is not None
    assert len(curve.losses) == curve.diverged < 9
    assert curve.evaluations[-1].step == curve.diverged
    assert curve.final_loss == float("inf")
    right = runs.train("nuqsgd", "digits", num_workers=2, seed=0, steps=3)
    assert right.diverged is None
    assert len(right.losses) == 3


# all of it


def test_the_whole_of_it_runs_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short a run proves nothing; that the claims hold in a longer one is for
    `intswitch reproduce nuqsgd --quick` to show."""
    pytest.importorskip("sklearn")
    matplotlib = pytest.importorskip("matplotlib.figure")
    tiny = runs.Size(draws=3, batches=3, seeds=2, training=3)
    monkeypatch.setattr(nuqsgd, "QUICK", tiny)
    evidence = nuqsgd.reproduce(Options(quick=True), Quiet())
    assert len(evidence.claims) == 14
    assert {row["panel"] for row in evidence.rows} == {"variance", "4 bits", "3 bits"}
    figure = matplotlib.Figure()
    evidence.draw(figure)
    figure.savefig(io.BytesIO())
    losses = {
        line.get_label(): len(line.get_ydata()) for line in figure.axes[1].get_lines()
    }
    assert set(losses) == set(runs.TRAININGS)
    assert set(nuqsgd_figure.COLOUR) == set(runs.NAMES)
