"""The one way to compile a kernel, and where compiled kernels are kept.

numba's cache looks at the file that holds a kernel, and not at the files that the
kernel imports from: an edit of `lanes.py` would leave a stale `pipeline.py` in use.
So the cache folder is named by a hash of all sources that kernels can come from.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import config, types

Function = TypeVar("Function", bound=Callable[..., object])

KERNEL_PACKAGES = ("switch", "host")


def source_hash(root: Path) -> str:
    """Hash of every Python file of the packages that hold kernels."""
    digest = hashlib.sha256()
    for package in KERNEL_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled kernels of these very sources are kept, from run to run."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    base = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(home, "intswitch")
    return Path(base) / source_hash(Path(__file__).resolve().parent.parent)


config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]


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
    options: dict[str, Any] = {
        "cache": True,
        "nogil": True,
        "error_model": "numpy",
        "_nrt": False,
    }
    return cast(Function, numba.njit(**options)(function))


def specialize(function: Callable[..., Any], **kernels: Callable[..., Any]) -> Any:
    """A kernel from `function`, in which the names of `kernels` stand for them.

    Kernels are compiled into the caller; a call by reference would neither be inlined
    nor cached. The cache knows a kernel by its name and types alone, so the full names
    of `kernels` are part of it.
    """
    names = [f"{each.__module__}_{each.__qualname__}" for each in kernels.values()]
    name = "_".join([function.__name__, *names]).replace(".", "_")
    scope = {**function.__globals__, **kernels}
    special = FunctionType(function.__code__, scope, name)
    special.__qualname__ = name
    return kernel(special)


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
