import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import numba
import pytest
from bmv2 import Bmv2, missing, running


@pytest.fixture(scope="session")
def uncompiled() -> ModuleType:
    """`switch.pipeline`, imported a second time with its kernels left plain Python."""
    compiled = {name: sys.modules[name] for name in list(sys.modules) if is_ours(name)}
    for name in compiled:
        del sys.modules[name]
    was_disabled = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = True
    try:
        pipeline = importlib.import_module("switch.pipeline")
    finally:
        numba.config.DISABLE_JIT = was_disabled
        for name in [name for name in sys.modules if is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(compiled)
    assert not hasattr(pipeline.run, "py_func"), "a compiled kernel"
    return pipeline


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "switch"


@pytest.fixture(scope="session")
def bmv2() -> Iterator[Bmv2]:
    """BMv2 running our P4 program, to be configured by each test."""
    reason = missing()
    if reason:
        pytest.skip(f"BMv2: {reason}")
    with running() as switch:
        yield switch
