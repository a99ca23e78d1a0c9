"""The backend and the hook in processes of torch: tests/torch_*.py has the checks.

All of them run in one set of four processes; each is a test here.
"""

import json
import sys
from ast import FunctionDef, parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

pytest.importorskip("torch")

from torch_processes import ENDS_WITHIN, in_a_session, installed

HERE = Path(__file__).parent
RANKS = 4
FILES = ("torch_collectives.py", "torch_models.py", "torch_failures.py")

Outcomes = list[dict[str, str]]


def checks() -> Iterator[str]:
    """Names of all checks, without importing them."""
    yield "the_example_of_fsdp2"
    for file in FILES:
        for node in parse((HERE / file).read_text()).body:
            if isinstance(node, FunctionDef) and node.decorator_list:
                yield node.name


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each check, by rank."""
    folder = tmp_path_factory.mktemp("torch")
    environment = installed(tmp_path_factory.mktemp("metadata"))
    script = str(HERE / "torch_checks.py")
    ports = [str(free_port()) for _ in range(2)]
    in_a_session([sys.executable, script, str(folder), *ports], environment)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.timeout(ENDS_WITHIN + 20)
@pytest.mark.parametrize("name", list(checks()))
def test_in_processes_of_torch(outcomes: Outcomes, name: str) -> None:
    for rank, outcome in enumerate(outcomes):
        assert outcome[name] == "ok", f"rank {rank}: {outcome[name]}"
