"""The one way to compile a kernel, and where compiled kernels are kept.

numba's cache looks at the file that holds a kernel, and not at the files that the
kernel imports from: an edit of `lanes.py` would leave a stale `pipeline.py` in use.
So the cache folder of a kernel is named by a hash of its file and of all files that
this one imports, directly or not.
"""

import ctypes
import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
from numba.core import config, types
from numba.core.registry import CPUDispatcher

from switch.cache import cache_folder

Function = TypeVar("Function", bound=Callable[..., object])

LONGEST_NAME = 100
ROOT = Path(__file__).resolve().parent.parent
IMPORT = re.compile(
    r"^\s*(?:from|import)\s+((?:switch|host|intswitch)\b[\w.]*)"
    r"(?:\s+import\s+(\([^)]*\)|.*))?",
    re.MULTILINE,
)


@cache
def imported(path: Path) -> frozenset[Path]:
    """Our files that a file imports; a name is taken for a module if there is one."""
    found: set[Path] = set()
    for package, names in IMPORT.findall(path.read_text()):
        place = ROOT.joinpath(*package.split("."))
        for module in (place, *(place / name for name in re.findall(r"\w+", names))):
            found |= {module.with_suffix(".py"), module / "__init__.py"}
    return frozenset(each for each in found if each.is_file())


@cache
def source_hash(paths: frozenset[Path]) -> str:
    """Hash of files, and of all that they import of ours."""
    closure: set[Path] = set()
    left = set(paths)
    while left:
        path = left.pop()
        closure.add(path)
        left |= imported(path) - closure
    digest = hashlib.sha256()
    for path in sorted(closure):
        digest.update(os.path.relpath(path, ROOT).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder_of(sources: frozenset[Path]) -> Path:
    """Where what is compiled from these very files is kept, from run to run."""
    base = os.environ.get("NUMBA_CACHE_DIR") or cache_folder()
    return Path(base) / source_hash(sources)


sources_of: dict[Callable[..., object], frozenset[Path]] = {}
"""Of every kernel, the files that its code stands in."""

COMPILED = not config.DISABLE_JIT  # type: ignore[attr-defined]


def plain(records: Any) -> Any:
    """The same memory as an array that numba recognises quickly when it is an argument.

    A recarray, whose fields plain Python can name as kernels do, takes it ten times as
    long. Without compilation, the recarray itself.
    """
    return np.asarray(records) if COMPILED else records


def kernel(function: Function) -> Function:
    """Compile `function`; with NUMBA_DISABLE_JIT=1 it stays plain Python.

    A kernel allocates no array and returns none. So it runs without numba's reference
    counts, which took more than half of the switch's time (560 ns a packet, now 240).
    """
    here = Path(function.__code__.co_filename).resolve()
    return compile_from(frozenset([here]), function)


OPTIONS = {
    "nopython": True,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,  # for a use that we have not
}


class Kernel(CPUDispatcher):
    """A kernel as other kernels call it: without what lets Python call it, which for
    arguments of many arrays is as long as the kernel, and takes as long to compile.

    Python's calls go to a second one, which has that, compiled at the first of them.
    """

    def __init__(self, function: Callable[..., object], folder: Path) -> None:
        super().__init__(function, targetoptions=OPTIONS | {"no_cpython_wrapper": True})
        self.by_python = CPUDispatcher(function, targetoptions=OPTIONS)
        # numba asks for the folder once, when the cache is enabled
        before = config.CACHE_DIR  # type: ignore[attr-defined]
        try:
            for each, place in ((self, folder / "inner"), (self.by_python, folder)):
                config.CACHE_DIR = str(place)  # type: ignore[attr-defined]
                each.enable_caching()
        finally:
            config.CACHE_DIR = before  # type: ignore[attr-defined]

    def __call__(self, *arguments: object) -> object:
        return self.by_python(*arguments)


def compile_from(sources: frozenset[Path], function: Function) -> Function:
    """A kernel that is kept until its sources, or what they import, change."""
    compiled = Kernel(function, folder_of(sources)) if COMPILED else function
    sources_of[compiled] = sources
    return cast(Function, compiled)


def specialize(function: Callable[..., Any], **kernels: Callable[..., Any]) -> Any:
    """A kernel from `function`, in which the names of `kernels` stand for them.

    Kernels are compiled into the caller; a call by reference would neither be inlined
    nor cached. The cache knows a kernel by its name and types alone, so the full names
    of `kernels` are part of it.
    """
    names = [f"{each.__module__}_{each.__qualname__}" for each in kernels.values()]
    name = "_".join([function.__name__, *names]).replace(".", "_")
    if len(name) > LONGEST_NAME:  # it becomes part of a file's
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{function.__name__}_{digest}"
    scope = {**function.__globals__, **kernels}
    special = FunctionType(function.__code__, scope, name)
    special.__qualname__ = name
    here = Path(function.__code__.co_filename).resolve()
    inner = (sources_of[each] for each in kernels.values())
    return compile_from(frozenset([here]).union(*inner), special)


def external(name: str, result: str, *arguments: str) -> Any:
    """A function of the C library, for kernels to call. Types by numba's names; an
    address is a uint64."""
    if COMPILED:
        signature = getattr(types, result)(
            *(getattr(types, each) for each in arguments)
        )
        return types.ExternalFunction(name, signature)
    function = getattr(ctypes.CDLL(None), name)
    function.restype = getattr(ctypes, f"c_{result}")
    function.argtypes = [getattr(ctypes, f"c_{each}") for each in arguments]
    return function
