"""One worker's SGD on a logistic regression, a sample a step: the paper's algorithm,
and what it is compared with.

    v     = m + eta_t grad f_i(x),   m = 0 without memory
    g     = v (SGD), top_k(v), rand_k(v), or QSGD's quantization of v
    x    -= g;   m = v - g           (but QSGD has no memory)
    eta_t = gamma / (lambda (t + a))

x and m are float64, as in the authors' code, and the gradient of the regularizer, which
is dense, goes through the compressor too. The average of the iterates x_1, x_2, ... has
the weights (a + t)^2 (Theorem 2.4), or equal ones, as in their comparison with QSGD;
its step size g_0 / (1 + g_0 lambda t) (Bottou) is the above with gamma = 1 and
a = 1 / (g_0 lambda).

(`host/compressors/memsgd.py` is for several workers, and float32.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from host.compressors.selection import random_below, random_bits
from intswitch.reproduce.datasets import Integers, Samples, Vector
from intswitch.reproduce.logistic import add_row, dot, slope
from switch.compiled import kernel

SGD, TOP, RAND, QSGD = range(4)


class Plan(NamedTuple):
    """What stays the same from step to step."""

    method: int
    """SGD, TOP, RAND or QSGD."""
    k: int
    """Elements; of QSGD, levels s."""
    memory: bool
    l2: float
    """lambda"""
    gamma: float
    shift: float
    """a"""
    weighted: bool
    """Average with the weights (a + t)^2; else with equal ones."""
    key: np.uint64
    """Of the random numbers; see `host.compressors.selection.random_bits`."""


class State(NamedTuple):
    """What changes. Vectors are [features]."""

    x: Vector
    memory: Vector
    mean: Vector
    """Average of the iterates."""
    chosen: Integers
    """[k] for use in a step."""


@kernel
def weight_of_newest(t: int, shift: float) -> float:
    """(a + t)^2 / sum over i <= t of (a + i)^2."""
    total = (t + 1) * (6 * shift**2 + 6 * shift * t + 2.0 * t**2 + t) / 6
    return (shift + t) ** 2 / total


@kernel
def largest(v: Vector, k: int, chosen: Integers) -> int:
    """Indices of the k largest |elements|, in any order; for a small k. Keeps the k
    best of those seen, by insertion."""
    found = 0
    for j in range(v.size):
        size = abs(v[j])
        if found == k and size <= abs(v[chosen[k - 1]]):
            continue
        found = min(found + 1, k)
        place = found - 1
        while place > 0 and size > abs(v[chosen[place - 1]]):
            chosen[place] = chosen[place - 1]
            place -= 1
        chosen[place] = j
    return found


@kernel
def random_ones(
    size: int, k: int, key: np.uint64, counter: int, chosen: Integers
) -> int:
    """k different indices below `size`, by Floyd's sampling; for a small k. Uses the
    key's numbers from `counter` to counter + k - 1."""
    k = min(k, size)
    for number in range(k):
        last = size - k + number
        at = random_below(key, counter + number, last + 1)
        for other in range(number):
            if chosen[other] == at:
                at = last
        chosen[number] = at
    return k


@kernel
def quantize(v: Vector, levels: int, key: np.uint64, counter: int, x: Vector) -> None:
    """x -= Q(v): QSGD's levels 0, 1/s, ..., 1 times ||v||, rounded at random (Alistarh
    et al., NeurIPS 2017, 3.1). Uses the key's numbers from `counter` on."""
    square = 0.0
    for j in range(v.size):
        square += v[j] * v[j]
    norm = math.sqrt(square)
    if norm == 0.0:
        return
    for j in range(v.size):
        level = abs(v[j]) / norm * levels
        low = math.floor(level)
        uniform = np.float64(random_bits(key, counter + j) >> np.uint64(11)) * 2.0**-53
        low += uniform < level - low
        x[j] -= math.copysign(norm * low / levels, v[j])


@kernel
def send(v: Vector, plan: Plan, t: int, state: State) -> None:
    """x -= g; v -= g, where g is what the method sends of v."""
    x, chosen = state.x, state.chosen
    if plan.method == SGD:
        for j in range(v.size):
            x[j] -= v[j]
            v[j] = 0.0
        return
    if plan.method == QSGD:
        quantize(v, plan.k, plan.key, t * v.size, x)
        return
    if plan.method == TOP:
        found = largest(v, plan.k, chosen)
    else:
        found = random_ones(v.size, plan.k, plan.key, t * plan.k, chosen)
    for number in range(found):
        j = chosen[number]
        x[j] -= v[j]
        v[j] = 0.0


@kernel
def steps(
    samples: Samples,
    labels: Vector,
    order: Integers,
    first: int,
    plan: Plan,
    state: State,
) -> None:
    """A step for each of `order`'s samples; `first` is the number of the first step."""
    x, v, mean = state.x, state.memory, state.mean
    for number in range(order.size):
        t, row = first + number, order[number]
        eta = plan.gamma / (plan.l2 * (t + plan.shift))
        factor = eta * slope(dot(samples, row, x), labels[row])
        kept = 1.0 if plan.memory else 0.0
        for j in range(x.size):
            v[j] = kept * v[j] + eta * plan.l2 * x[j]
        add_row(samples, row, factor, v)
        send(v, plan, t, state)
        share = weight_of_newest(t, plan.shift) if plan.weighted else 1.0 / (t + 1)
        for j in range(x.size):
            mean[j] += share * (x[j] - mean[j])
