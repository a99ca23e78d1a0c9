"""The k largest |elements| of a vector, against numpy's and torch's best, one thread;
and k at random in order, against numpy's choice without replacement, sorted."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from host.compressors.selection import rand_k, shared_key, top_k

SIZES = {"1 M": 1 << 20, "25 M": 25 << 20}
SHARES = (0.001, 0.01, 0.1)


def milliseconds(run: Callable[[], Any]) -> float:
    """The best of several, for at least half a second."""
    run()
    best, until = np.inf, time.perf_counter() + 0.5
    while time.perf_counter() < until:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return 1e3 * best


def top_rivals(vector: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    tensor, least = torch.from_numpy(vector), len(vector) - k
    return {
        "ours": lambda: top_k(vector, k),
        "numpy argpartition": lambda: np.argpartition(np.abs(vector), least)[least:],
        "torch topk": lambda: torch.topk(tensor.abs(), k, sorted=False),
    }


def random_rivals(vector: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    choice, size, key = np.random.default_rng(0).choice, len(vector), shared_key(0, 0)
    return {
        "ours": lambda: rand_k(size, k, key),
        "numpy choice": lambda: np.sort(choice(size, k, replace=False, shuffle=False)),
    }


def show(what: str, rivals: dict[str, Callable[[], Any]]) -> None:
    times = {who: milliseconds(run) for who, run in rivals.items()}
    ours = times.pop("ours")
    theirs = [f"{who} {t:.2f} ms ({t / ours:.1f} x)" for who, t in times.items()]
    print(f"{what}: {ours:.2f} ms, {', '.join(theirs)}", flush=True)


def main() -> None:
    """One figure a line."""
    torch.set_num_threads(1)
    for name, size in SIZES.items():
        vector = np.random.default_rng(0).standard_normal(size, np.float32)
        for share in SHARES:
            k = int(share * size)
            show(f"top {share:.1%} of {name}", top_rivals(vector, k))
            show(f"random {share:.1%} of {name}", random_rivals(vector, k))


if __name__ == "__main__":
    main()
