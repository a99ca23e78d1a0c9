"""IntSGD's claims hold for IntSGD, and for nothing that is broken in some way."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import curves, some, verdicts

pytest.importorskip("torch")

from host.compressors import scaled
from host.compressors.intsgd import IntSGD
from intswitch.reproduce import intsgd, intsgd_figure
from intswitch.reproduce import intsgd_runs as runs
from intswitch.reproduce.claims import Claim, Options, Quiet
from intswitch.reproduce.training import Curve, loss_ratio

DRAWS = 150


def rounded(elements: int = 600) -> runs.Found:
    """Of the experiments, those about rounding alone, in small."""
    gradients = runs.gaussian(0, 4, elements)
    worst = runs.halves(0, 4, elements, runs.ALPHA)
    return some(
        runs.Found,
        roundings=[runs.rounding(gradients, a, DRAWS) for a in (1.0, runs.ALPHA)],
        worst=runs.rounding(worst, runs.ALPHA, DRAWS),
        nearest=runs.rounding(gradients[:1], runs.ALPHA, 3, rounding="deterministic"),
    )


def test_random_rounding_is_as_claimed() -> None:
    assert verdicts(intsgd.rounding_claims(rounded())) == [True] * 3


def broken_key(what: str) -> Any:
    """Of the random numbers: the same in every step, or on every worker."""
    right = scaled.random_key
    if what == "step":
        return lambda seed, worker, step, piece: right(seed, worker, 0, piece)
    return lambda seed, worker, step, piece: right(seed, 0, step, piece)


@pytest.mark.parametrize(
    ("what", "expected"),
    [("step", [False, False, False]), ("worker", [True, False, False])],
)
def test_random_numbers_that_repeat_are_found_out(
    monkeypatch: pytest.MonkeyPatch, what: str, expected: list[bool]
) -> None:
    """Of the same draw every time, the error is a bias; of workers that round alike,
    the errors add up."""
    monkeypatch.setattr(scaled, "random_key", broken_key(what))
    assert verdicts(intsgd.rounding_claims(rounded())) == expected


def spoilt(change: Any) -> type[IntSGD]:
    """An IntSGD whose means are changed afterwards."""

    class Spoilt(IntSGD):
        def average(self, gradient: Any, *arguments: Any) -> Any:
            mean = super().average(gradient, *arguments)
            return change(mean).astype(np.float32)

    return Spoilt


NOISE = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda mean: mean + 0.02, 0),  # 1/25 of a step of a worker
        (lambda mean: 0.97 * mean, 0),
        (lambda mean: mean + 0.1 * NOISE.normal(size=len(mean)), 1),
        (lambda mean: mean + 0.1 * NOISE.normal(size=len(mean)), 2),
    ],
    ids=["rounds up", "shrinks", "noisy", "noisier than said"],
)
def test_means_that_are_spoilt_are_found_out(
    monkeypatch: pytest.MonkeyPatch, change: Any, broken: int
) -> None:
    monkeypatch.setattr(runs, "IntSGD", spoilt(change))
    claims = list(intsgd.rounding_claims(rounded()))
    assert not claims[broken].holds, claims[broken].measured


def test_rounding_to_nearest_is_biased_and_random_rounding_is_not() -> None:
    found = rounded()
    (right,) = intsgd.nearest_claims(found)
    assert right.holds
    assert right.measured.endswith("the same error in all 3 draws")
    random = runs.rounding(runs.gaussian(0, 1, 600), runs.ALPHA, 20)
    (wrong,) = intsgd.nearest_claims(dataclasses.replace(found, nearest=random))
    assert not wrong.holds
    assert "the same error" not in wrong.measured


@pytest.mark.parametrize("name", ["SGD", "heuristic int8"])
def test_what_diverges_shows_nothing(name: str) -> None:
    """Not even that it is worse: of SGD, whose loss is then infinite, nothing is."""
    trained = {each: curves_of(f, 0.02) for each, f in FACTORS.items()}
    trained[name] = curves([1.0] * 5, diverged=7)
    holds = verdicts(intsgd.training_claims(some(runs.Found, curves=trained)))
    lost = {
        "SGD": [False] * 4 + [True],
        "heuristic int8": [True, True, False] + 2 * [True],
    }
    assert holds == lost[name]


def adapted(**options: Any) -> list[Claim]:
    class Chosen(IntSGD):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given, **options)

    kept, runs.IntSGD = runs.IntSGD, Chosen  # type: ignore[misc]
    try:
        adaptive = runs.adaptive(0, 8, 25, Quiet())
    finally:
        runs.IntSGD = kept  # type: ignore[misc]
    return list(intsgd.adaptive_claims(some(runs.Found, adaptive=adaptive)))


def test_the_adaptive_scale_is_as_claimed() -> None:
    assert verdicts(adapted()) == [True, True, True]


@pytest.mark.parametrize("alpha0", [0.7, 1.5])
def test_another_scale_is_found_out(alpha0: float) -> None:
    """Smaller: too much noise. Larger: too large integers."""
    noise, agree, size = verdicts(adapted(alpha0=alpha0))
    assert (noise, agree, size) == (False, True, False)


def descended(diana: str = "IntDIANA") -> list[bool]:
    """Verdicts, perhaps with something else in the place of IntDIANA."""
    dataset = runs.heterogeneous(0, runs.SHARES, samples=100, features=60)
    descents = {
        name: runs.descend(
            name.replace("IntDIANA", diana), dataset, runs.SHARES, 120, Quiet()
        )
        for name in runs.METHODS
    }
    return verdicts(intsgd.descent_claims(some(runs.Found, descents=descents)))


def test_intdiana_is_as_claimed() -> None:
    assert descended() == [True, True, True]


def test_intdiana_without_memory_is_found_out() -> None:
    assert descended(diana="IntSGD")[1:] == [False, False]


def test_data_of_fewer_samples_than_workers_is_refused() -> None:
    dataset = runs.heterogeneous(0, 1, samples=5, features=3)
    with pytest.raises(ValueError, match="5 samples: must be at least 12"):
        runs.descend("IntSGD int8", dataset, 12, 1, Quiet())


def curves_of(factor: float, jitter: float) -> list[Curve]:
    """Of five seeds, whose final losses differ; `factor` times those of SGD."""
    chance = np.random.default_rng(int(100 * factor))
    seeds = (1.0, 1.2, 0.7, 3.0, 1.0)
    return curves([factor * seed * (1 + jitter * chance.normal()) for seed in seeds])


FACTORS = {
    "SGD": 1.0,
    "IntSGD int8": 1.01,
    "IntSGD int32": 0.99,
    "heuristic int8": 1.5,
    "heuristic int32": 1.0,
    "IntSGD int8, to nearest": 1.8,
}


@pytest.mark.parametrize("name", [None, *(name for name in FACTORS if name != "SGD")])
def test_trainings_that_match_or_not_are_told(name: str | None) -> None:
    """With one of them the other way round."""
    factors = dict(FACTORS)
    if name:
        factors[name] = 1.0 if factors[name] > 1.2 else 1.3
    trained = {each: curves_of(f, 0.02) for each, f in factors.items()}
    found = some(runs.Found, curves=trained)
    order = [each for each in FACTORS if each != "SGD"]
    expected = [each != name for each in order]
    assert verdicts(intsgd.training_claims(found)) == expected


def test_a_difference_that_seeds_hide_is_no_proof() -> None:
    ratio = loss_ratio(curves_of(1.3, 0.5), curves_of(1.0, 0.5))
    assert ratio.low < 1 + intsgd.WORSE < ratio.high


def test_the_whole_of_it_runs_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On data from a file. So short a run proves nothing; that the claims hold in a
    longer one is for `intswitch reproduce intsgd --quick` to show."""
    pytest.importorskip("sklearn")
    tiny = runs.Size(draws=3, steps=4, descent=5, seeds=2, training=3)
    monkeypatch.setattr(intsgd, "QUICK", tiny)
    monkeypatch.setattr(runs, "WORKERS", 2)
    path = tmp_path / "few"
    lines = [f"{2 * (i % 2) - 1} {1 + i % 3}:{i + 1} 4:1" for i in range(30)]
    path.write_text("\n".join(lines))
    evidence = intsgd.reproduce(Options(quick=True, data=path), Quiet())
    assert len(evidence.claims) == 15
    assert {row["panel"] for row in evidence.rows} == {
        "rounding", "heterogeneous", "training",
    }  # fmt: skip
    assert "few: 30 samples of 4 features" in " ".join(evidence.notes)


def test_the_figure_draws_its_rows() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    descent = runs.Descent([1.0, 0.5], [7, 3], [5, 4])
    found = dataclasses.replace(
        rounded(50), descents={"IntSGD int8": descent}, curves={"SGD": curves_of(1, 0)}
    )
    rows = list(intsgd_figure.rows(found))
    assert [row["panel"] for row in rows] == [
        *["rounding"] * 2, *["heterogeneous"] * 2, *["training"] * 2,
    ]  # fmt: skip
    figure = matplotlib.Figure()
    intsgd_figure.draw(figure, found)
    figure.savefig(io.BytesIO())
    (line,) = figure.axes[1].get_lines()
    assert line.get_ydata() == [3]
