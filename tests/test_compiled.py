"""The cache of compiled kernels: kept from run to run, and never stale.

Each test works on a small tree of its own: a copy of switch/compiled.py beside a kernel
that imports another kernel from a second file. Each run is a process of its own, as
numba's cache is looked at when a function is first compiled.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from switch import cache, compiled

OUTER = """\
from switch.compiled import kernel
from switch.inner import step

@kernel
def total(count):
    sum = 0
    for _ in range(count):
        sum += step(1) + step(0)
    return sum
"""
INNER = """\
from switch.compiled import kernel

@kernel
def step(factor):
    return factor * {value}
"""
RUN = """\
from switch.compiled import folder_of, sources_of
from switch.outer import step, total
folder = folder_of(sources_of[total])
print(total(10), folder, sum(total.by_python.stats.cache_hits.values()))
assert len(step.nopython_signatures) <= 1, "a version for each constant"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    package = tmp_path / "switch"
    package.mkdir()
    (tmp_path / "host").mkdir()
    (package / "__init__.py").touch()
    for module in (compiled, cache):
        shutil.copy(str(module.__file__), package)
    (package / "outer.py").write_text(OUTER)
    (package / "inner.py").write_text(INNER.format(value=1))
    return tmp_path


def python(tree: Path, code: str, **environment: str) -> list[str]:
    """The words that `code` prints when it is run in the tree."""
    variables = {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(tree / "cache"),
        "PYTHONPATH": str(tree),
        # Python's own cache does not see an edit of equal size within a second
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, cwd=tree, env=variables, text=True).split()


def run(tree: Path, **environment: str) -> tuple[int, Path, int]:
    """The kernel's result, the cache folder, and how often the cache had the kernel."""
    result, folder, hits = python(tree, RUN, **environment)
    return int(result), Path(folder), int(hits)


def test_a_second_run_finds_the_first_ones_kernels(tree: Path) -> None:
    result, folder, hits = run(tree)
    assert (result, hits) == (10, 0)
    assert folder.parent == tree / "cache" / "intswitch"
    assert any(folder.rglob("*.nbc")), "no compiled kernel is kept"
    assert run(tree) == (10, folder, 1)


def test_an_edit_in_an_imported_file_counts(tree: Path) -> None:
    _, before, _ = run(tree)
    (tree / "switch" / "inner.py").write_text(INNER.format(value=7))
    result, after, hits = run(tree)
    assert (result, hits) == (70, 0)
    assert after != before
    (tree / "switch" / "inner.py").write_text(INNER.format(value=1))
    assert run(tree) == (10, before, 1), "what was compiled once is still there"


def test_numbas_own_variable_chooses_the_place(tree: Path) -> None:
    _, folder, _ = run(tree, NUMBA_CACHE_DIR=str(tree / "elsewhere"))
    assert folder.parent == tree / "elsewhere"


IMPORTS = """\
import switch.plainly
from switch import beside
from switch.within import something
from host import (
    wrapped,
)
from host.deep import inner

def late():
    from switch.late import anything
"""
FILES = (
    "switch/outer.py",
    "switch/plainly.py",
    "switch/beside.py",
    "switch/within.py",
    "switch/late.py",
    "host/wrapped.py",
    "host/deep/__init__.py",
    "host/deep/inner.py",
    "switch/further.py",
)
KEY = """
from pathlib import Path
from switch.compiled import source_hash
print(source_hash(frozenset([Path("switch/outer.py").resolve()])))
"""


def test_what_is_imported_is_in_the_key_and_nothing_else(tree: Path) -> None:
    (tree / "host" / "deep").mkdir()
    for name in (*FILES, "switch/stranger.py"):
        (tree / name).write_text("")
    (tree / "switch" / "outer.py").write_text(IMPORTS)
    (tree / "host" / "deep" / "inner.py").write_text("from switch import further\n")
    keys = python(tree, KEY)
    for name in FILES:
        with (tree / name).open("a") as file:
            file.write("a = 1\n")
        keys += python(tree, KEY)
    assert len(set(keys)) == 1 + len(FILES)
    (tree / "switch" / "stranger.py").write_text("a = 1\n")
    assert python(tree, KEY) == keys[-1:]


def test_jit_can_be_switched_off(tree: Path) -> None:
    code = "from switch.outer import total; print(total(10), type(total).__name__)"
    assert python(tree, code, NUMBA_DISABLE_JIT="1") == ["10", "function"]


RECORDS = np.dtype([("offset", np.int64), ("length", np.int64)])


def test_plain_records_are_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    records = np.zeros(3, RECORDS).view(np.recarray)
    monkeypatch.setattr(compiled, "COMPILED", True)
    found = compiled.plain(records)
    assert type(found) is np.ndarray
    found["length"][1] = 5
    assert records[1].length == 5


def test_uncompiled_kernels_get_records_with_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As plain Python they read `packet.offset`, which a plain array lacks."""
    monkeypatch.setattr(compiled, "COMPILED", False)
    records = np.zeros(3, RECORDS).view(np.recarray)
    assert compiled.plain(records) is records


TWICE = """
from switch.compiled import kernel, specialize
from switch import ours, theirs
def twice(value):
    return step(value) + step(value)
"""
STEP = (
    "from switch.compiled import kernel\n@kernel\ndef step(value): return value + {}\n"
)


def test_kernels_of_one_name_are_specialized_apart(tree: Path) -> None:
    """In the cache too: the second process loads what the first one compiled."""
    (tree / "switch" / "ours.py").write_text(STEP.format(1))
    (tree / "switch" / "theirs.py").write_text(STEP.format(10))
    (tree / "switch" / "twice.py").write_text(TWICE)
    code = (
        "from switch.twice import *\n"
        "kinds = [specialize(twice, step=each.step) for each in ({})]\n"
        "print(*(kind(0) for kind in kinds))"
    )
    assert python(tree, code.format("ours, theirs")) == ["2", "20"]
    assert python(tree, code.format("theirs, ours")) == ["20", "2"]


NESTED = """
from switch.compiled import kernel, specialize
from switch import ours
def inner(value):
    return step(value)
def outer(value):
    return inner(value)
special = specialize(outer, inner=specialize(inner, step=ours.step))
print(special(0))
"""


def test_a_specialized_kernel_knows_what_it_was_made_of(tree: Path) -> None:
    (tree / "switch" / "nested.py").write_text(NESTED)
    code = "import switch.nested"
    for step in ("1", "2", "1"):
        (tree / "switch" / "ours.py").write_text(STEP.format(step))
        assert python(tree, code) == [step]
