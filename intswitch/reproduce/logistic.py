"""l2-regularized logistic regression, on dense and sparse samples alike.

    f(x) = 1/n sum_i log(1 + exp(-b_i <a_i, x>)) + l2/2 ||x||^2

Its kernels go through rows, so that another loop (a step of SGD on one sample) can be
compiled around `dot`, `slope` and `add_row`. Everything is float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from intswitch.reproduce.datasets import Dataset, Samples, Vector
from switch.compiled import kernel


@kernel
def dot(samples: Samples, row: int, x: Vector) -> float:
    """<a_i, x>"""
    values = samples.values[samples.starts[row] : samples.starts[row + 1]]
    total = 0.0
    if samples.indices.size == 0:
        for j in range(values.size):
            total += values[j] * x[j]
        return total
    indices = samples.indices[samples.starts[row] : samples.starts[row + 1]]
    for j in range(values.size):
        total += values[j] * x[indices[j]]
    return total


@kernel
def add_row(samples: Samples, row: int, factor: float, out: Vector) -> None:
    """out += factor a_i"""
    values = samples.values[samples.starts[row] : samples.starts[row + 1]]
    if samples.indices.size == 0:
        for j in range(values.size):
            out[j] += factor * values[j]
        return
    indices = samples.indices[samples.starts[row] : samples.starts[row + 1]]
    for j in range(values.size):
        out[indices[j]] += factor * values[j]


@kernel
def slope(margin: float, label: float) -> float:
    """Derivative of log(1 + exp(-label margin)) by the margin."""
    return -label / (1.0 + math.exp(label * margin))


@kernel
def softplus(z: float) -> float:
    """log(1 + exp(z)), without overflow."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


@kernel
def loss_of(samples: Samples, labels: Vector, l2: float, x: Vector) -> float:
    """f(x)"""
    total = 0.0
    for i in range(labels.size):
        total += softplus(-labels[i] * dot(samples, i, x))
    square = 0.0
    for j in range(x.size):
        square += x[j] * x[j]
    return total / labels.size + 0.5 * l2 * square


@kernel
def gradient_of(
    samples: Samples, labels: Vector, l2: float, x: Vector, out: Vector
) -> None:
    """out = the gradient of f at x"""
    for j in range(x.size):
        out[j] = l2 * x[j]
    for i in range(labels.size):
        factor = slope(dot(samples, i, x), labels[i]) / labels.size
        add_row(samples, i, factor, out)


@kernel
def curvatures_of(samples: Samples, labels: Vector, x: Vector, out: Vector) -> None:
    """out [n] = second derivative of every sample's loss by its margin, over n"""
    for i in range(labels.size):
        p = -labels[i] * slope(dot(samples, i, x), labels[i])
        out[i] = p * (1.0 - p) / labels.size


@kernel
def times_hessian(
    samples: Samples, curvatures: Vector, l2: float, v: Vector, out: Vector
) -> None:
    """out = the Hessian times v"""
    for j in range(v.size):
        out[j] = l2 * v[j]
    for i in range(curvatures.size):
        add_row(samples, i, curvatures[i] * dot(samples, i, v), out)


class Optimum(NamedTuple):
    """Where the objective is least, as well as it is known."""

    weights: Vector
    loss: float
    residual: float
    """Norm of the gradient there. The loss is at most residual^2 / (2 l2) too high."""


class Problem:
    """An objective. `l2` None: 1 / number of samples."""

    def __init__(self, dataset: Dataset, l2: float | None = None) -> None:
        self.samples = dataset.samples
        self.labels = dataset.labels
        self.l2 = 1.0 / self.samples.num_samples if l2 is None else l2
        if self.l2 <= 0:
            raise ValueError(f"l2 is {self.l2}: must be above 0")

    def loss(self, x: Vector) -> float:
        return float(loss_of(self.samples, self.labels, self.l2, x))

    def gradient(self, x: Vector) -> Vector:
        out = np.empty_like(x)
        gradient_of(self.samples, self.labels, self.l2, x, out)
        return out

    def smoothness(self) -> float:
        """The largest curvature that the objective can have anywhere, by 100 rounds of
        power iteration: 1 over it is the step size of gradient descent."""
        most = np.full(len(self.labels), 0.25 / len(self.labels))
        v = np.random.default_rng(0).normal(size=self.samples.num_features)
        product = np.empty_like(v)
        for _ in range(100):
            v /= np.linalg.norm(v)
            times_hessian(self.samples, most, self.l2, v, product)
            v, product = product, v
        return float(np.linalg.norm(v))

    def optimum(self, tolerance: float = 1e-10, rounds: int = 50) -> Optimum:
        """By Newton's method from zero, until the gradient's norm is below `tolerance`
        or has stopped falling; its steps by conjugate gradients."""
        x = np.zeros(self.samples.num_features)
        gradient = self.gradient(x)
        residual = float(np.linalg.norm(gradient))
        for _ in range(rounds):
            if residual <= tolerance:
                break
            step, loss = self.newton_step(x, gradient), self.loss(x)
            length = 1.0
            while self.loss(x - length * step) > loss and length > 1e-3:
                length /= 2
            gradient = self.gradient(x - length * step)
            norm = float(np.linalg.norm(gradient))
            if norm >= residual and self.loss(x - length * step) >= loss:
                break
            x, residual = x - length * step, norm
        return Optimum(x, self.loss(x), residual)

    def newton_step(self, x: Vector, gradient: Vector) -> Vector:
        """The inverse Hessian times the gradient, by conjugate gradients (Hestenes and
        Stiefel, 1952), ever more precisely."""
        curvatures = np.empty(len(self.labels))
        curvatures_of(self.samples, self.labels, x, curvatures)
        step, left = np.zeros_like(x), gradient.copy()
        direction, product = left.copy(), np.empty_like(x)
        square = first = float(left @ left)
        for _ in range(10 * len(x)):
            if square <= min(1e-4, math.sqrt(first)) * first:
                break
            times_hessian(self.samples, curvatures, self.l2, direction, product)
            length = square / float(direction @ product)
            step += length * direction
            left -= length * product
            before, square = square, float(left @ left)
            direction = left + square / before * direction
        return step
