"""Logistic regression of the reproductions, held to finite differences and to NumPy."""

import numpy as np
import pytest

from intswitch.reproduce import logistic
from intswitch.reproduce.datasets import Dataset, Samples, dense, power_law, rcv1_twin
from intswitch.reproduce.logistic import Problem


def sparse(matrix: np.ndarray) -> Samples:
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1)).astype(np.int64)
    values = matrix[rows, columns]
    return Samples(values, columns.astype(np.int32), starts, matrix.shape[1])


def problem(form: str) -> tuple[Problem, np.ndarray]:
    chance = np.random.default_rng(0)
    matrix = chance.normal(size=(30, 12)) * (chance.random((30, 12)) < 0.4)
    matrix[7] = 0.0  # a sample without features
    labels = chance.choice([-1.0, 1.0], 30)
    samples = dense(matrix) if form == "dense" else sparse(matrix)
    return Problem(Dataset("test", samples, labels), l2=0.1), matrix


@pytest.fixture(params=["dense", "sparse"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_loss_is_the_formula(form: str) -> None:
    each, matrix = problem(form)
    x = np.random.default_rng(1).normal(size=12)
    margins = each.labels * (matrix @ x)
    expected = np.log1p(np.exp(-margins)).mean() + 0.05 * x @ x
    assert each.loss(x) == pytest.approx(expected, rel=1e-13)


def test_the_gradient_is_that_of_finite_differences(form: str) -> None:
    each, _ = problem(form)
    x = np.random.default_rng(2).normal(size=12)
    differences = [
        (each.loss(x + step) - each.loss(x - step)) / 2e-5 for step in 1e-5 * np.eye(12)
    ]
    np.testing.assert_allclose(each.gradient(x), differences, rtol=1e-8, atol=1e-10)


def test_the_hessian_is_that_of_the_gradients(form: str) -> None:
    each, _ = problem(form)
    x, v = np.random.default_rng(3).normal(size=(2, 12))
    curvatures, product = np.empty(30), np.empty(12)
    logistic.curvatures_of(each.samples, each.labels, x, curvatures)
    logistic.times_hessian(each.samples, curvatures, each.l2, v, product)
    difference = (each.gradient(x + 1e-6 * v) - each.gradient(x - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose(product, difference, rtol=1e-7)


def test_large_margins_do_not_overflow(form: str) -> None:
    each, _ = problem(form)
    x = np.full(12, 1e6)
    assert np.isfinite(each.loss(x))
    assert np.isfinite(each.gradient(x)).all()


def test_the_largest_curvature_is_an_upper_bound(form: str) -> None:
    each, matrix = problem(form)
    largest = np.linalg.eigvalsh(matrix.T @ matrix).max() / (4 * 30) + 0.1
    assert each.smoothness() == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize(
    "dataset", [power_law(0, 400, 60), rcv1_twin(0, 500, 3000)], ids=["dense", "sparse"]
)
def test_at_the_optimum_the_gradient_is_zero_and_nothing_is_less(
    dataset: Dataset,
) -> None:
    each = Problem(dataset)
    best = each.optimum()
    assert each.l2 == 1 / dataset.samples.num_samples
    assert best.residual < 1e-10
    assert best.residual == np.linalg.norm(each.gradient(best.weights))
    steps = np.random.default_rng(0).normal(size=(20, len(best.weights)))
    assert all(each.loss(best.weights + 0.01 * step) > best.loss for step in steps)


def test_l2_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match=r"l2 is 0\.0: must be above 0"):
        Problem(power_law(0, 10, 3), l2=0.0)
