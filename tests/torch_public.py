"""PyTorch's own tests of torch.distributed, with this backend: those of its wheel.

    python tests/torch_public.py [NAME ...]

Every test in four processes of its own, over one switch. It needs expecttest, beside
torch. What it prints at the end is the table in docs/pytorch.md. Not part of the suite:
it takes some minutes, and what it tests changes with torch.
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
from importlib import import_module
from typing import Any
from unittest import TestCase, TestResult

import torch
from torch import distributed
from torch_processes import compile_kernels

import intswitch
from intswitch.autoload import BACKEND, register

RANKS = 4
TESTS = "torch.testing._internal.distributed.distributed_test"
GATES = ("gloo", "mpi")
"""Third backends are skipped by name: the tests believe that they run on gloo, and
what is for MPI alone that they run on that. Who asks for these gets ours."""


def switch_tests(gate: str) -> type[TestCase]:
    """The tests of this backend, each in processes forked from this one."""
    os.environ["BACKEND"] = gate
    sys.modules.pop(TESTS, None)
    tests = import_module(TESTS)
    # else groups of two want eight ranks
    os.environ["BACKEND"] = "mpi"

    class TestSwitch(tests.TestDistBackend, tests.DistributedTest._DistTestBase):
        def setUp(self) -> None:
            super().setUp()
            self._start_processes(multiprocessing.get_context("fork").Process)

    return TestSwitch


def with_ours(init: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any, **named: Any) -> None:
        if named.get("backend") in GATES:
            named["backend"] = BACKEND
        init(*arguments, **named)

    return call


class Told(TestResult):
    """Says how each test ended, as it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, tuple[str, str]] = {}
        """By name: passes, fails or skipped; and why."""

    def tell(self, test: TestCase, outcome: str, reason: str = "") -> None:
        name = test.id().rpartition(".")[2]
        self.outcomes[name] = outcome, reason
        print(f"{outcome}: {name} {reason}", flush=True)

    def names(self, gate: str) -> list[str]:
        """Of tests that were skipped for not being this backend."""
        only = f"only {gate}"
        return [name for name, (_, why) in self.outcomes.items() if only in why.lower()]

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
    torch.set_num_threads(1)
    folder = tempfile.mkdtemp()
    os.environ |= {
        "WORLD_SIZE": str(RANKS),
        "TEMP_DIR": folder,
        "INIT_METHOD": f"file://{folder}/init",
        "OMP_NUM_THREADS": "1",
    }
    register()
    distributed.init_process_group = with_ours(distributed.init_process_group)
    result, started = Told(), time.monotonic()
    with intswitch.Switch("127.0.0.1", 0) as switch:
        os.environ["INTSWITCH_SWITCH"] = switch.endpoint
        compile_kernels(switch.endpoint)
        tests = switch_tests(GATES[0])
        known = unittest.defaultTestLoader.getTestCaseNames(tests)
        chosen = [name for name in known if not names or name in names]
        unittest.TestSuite(map(tests, chosen)).run(result)
        for gate in GATES[1:]:
            others = map(switch_tests(gate), result.names(gate))
            unittest.TestSuite(others).run(result)
    print(f"torch {torch.__version__}, {time.monotonic() - started:.0f} s")
    for (outcome, reason), count in sorted(Counter(result.outcomes.values()).items()):
        print(f"{outcome}: {count}{reason and ': '}{reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
