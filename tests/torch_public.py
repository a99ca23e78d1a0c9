"""PyTorch's own tests of torch.distributed, with this backend: those of its wheel.

    python tests/torch_public.py [NAME ...]

Every test in four processes of its own, over one switch. It needs expecttest, beside
torch. What it prints at the end is the table in docs/pytorch.md. Not part of the suite:
it takes half an hour, and what it tests changes with torch.
"""

import multiprocessing
import os
import re
import sys
import tempfile
import time
import unittest
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import TestCase, TestResult

import torch
from torch import distributed

import intswitch
from intswitch.autoload import BACKEND, register

RANKS = 4
GATE = "gloo"
"""The tests of this backend are run: third ones are skipped by name. Who asks for it
gets ours."""


def switch_tests() -> type[TestCase]:
    """The tests, each in processes forked from this one."""
    os.environ |= {
        "BACKEND": GATE,
        "WORLD_SIZE": str(RANKS),
        "TEMP_DIR": tempfile.mkdtemp(),
        "OMP_NUM_THREADS": "1",
    }
    from torch.testing._internal.distributed import distributed_test as tests

    register()
    distributed.init_process_group = with_ours(distributed.init_process_group)
    # else groups of two want eight ranks
    os.environ["BACKEND"] = "mpi"

    class TestSwitch(tests.TestDistBackend, tests.DistributedTest._DistTestBase):
        def setUp(self) -> None:
            super().setUp()
            self._start_processes(multiprocessing.get_context("fork").Process)

    return TestSwitch


def with_ours(init: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any, **named: Any) -> None:
        if named.get("backend") == GATE:
            named["backend"] = BACKEND
        init(*arguments, **named)

    return call


class Told(TestResult):
    """Says how each test ended, as it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.why: list[tuple[str, str, str]] = []

    def tell(self, test: TestCase, outcome: str, reason: str = "") -> None:
        name = test.id().rpartition(".")[2]
        self.counts[outcome] += 1
        if outcome != "passes":
            self.why.append((outcome, name, reason))
        print(f"{outcome}: {name} {reason}", flush=True)

    def addSuccess(self, test: TestCase) -> None:
        self.tell(test, "passes")

    def addSkip(self, test: TestCase, reason: str) -> None:
        self.tell(test, "skipped", reason)

    def addError(self, test: TestCase, error: object) -> None:
        self.tell(test, "fails", last_words(self._exc_info_to_string(error, test)))

    addFailure = addError


def last_words(text: str) -> str:
    """Of the process that failed first: its error."""
    errors = re.findall(
        r"^(?:\w+\.)*\w*(?:Error|Exception|Disagreement).*$", text, re.M
    )
    return errors[-1] if errors else text.strip().splitlines()[-1]


def main(names: list[str]) -> None:
    tests = switch_tests()
    known = unittest.defaultTestLoader.getTestCaseNames(tests)
    wanted = [name for name in known if not names or name in names]
    torch.set_num_threads(1)
    result, started = Told(), time.monotonic()
    with intswitch.Switch("127.0.0.1", 0) as switch:
        os.environ["INTSWITCH_SWITCH"] = switch.endpoint
        unittest.TestSuite(tests(name) for name in wanted).run(result)
    print(f"torch {torch.__version__}, {time.monotonic() - started:.0f} s")
    for (outcome, reason), count in sorted(
        Counter((outcome, reason) for outcome, _, reason in result.why).items()
    ):
        print(f"{outcome}: {count}: {reason}")
    print(", ".join(f"{count} {outcome}" for outcome, count in result.counts.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
